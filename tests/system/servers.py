"""Small, strict HTTP servers: a token server, a CDN, and a reverse proxy that can fail.

Like Docker Hub and GHCR, they require tokens even for public images. The CDN, to which registries redirect requests for
blobs, accepts only GET without an Authorization header.
"""

import base64
import datetime
import json
import re
import secrets
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.process.daemon import free_port

PUBLISHER = ("publisher", "publisher-secret")


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # the default, 5, overflows when several clients pull at once


class ThreadedServer:
    """An HTTP server in a thread; `requests` lists the method and the path of each request."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, free_port(host)
        self.requests: list[tuple[str, str]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        owner = self

        class ReplyHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.requests.append((self.command, self.path))
                status, headers, body = owner.respond(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                """Respond 405: containerd tries OAuth by POST first, and falls back to GET at a 405."""
                self.send_error(405)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _HTTPServer((self.host, self.port), ReplyHandler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def respond(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        """Return the status, the headers and the body of the response."""
        status, body = self.status_and_body(request)
        return status, {}, body

    def status_and_body(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        """Return the status and the body of a response without further headers."""
        raise NotImplementedError


class TokenServer(ThreadedServer):
    """A token server like Docker's: it issues JWTs, signed with RS256, with its certificate in `x5c`.

    Anybody gets `pull` for repositories that are not `private`; only the publisher gets `pull,push`, as at GHCR.
    """

    def __init__(self, host: str, service: str, directory: Path) -> None:
        super().__init__(host)
        self.service = service
        self.private: set[str] = set()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.bundle = directory / f"{service}.pem"
        self.bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def status_and_body(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        query = parse_qs(urlsplit(request.path).query)
        authorization = request.headers.get("Authorization", "")
        is_publisher = authorization == "Basic " + base64.b64encode(":".join(PUBLISHER).encode()).decode()
        access = []
        for scope in query.get("scope", []):
            resource_type, name, actions = scope.split(":")
            if ("push" in actions or name in self.private) and not is_publisher:
                return 403, b'{"errors": [{"code": "DENIED"}]}'
            access.append({"type": resource_type, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": self.service, "sub": "", "aud": self.service, "exp": now + 300, "nbf": now - 10, "iat": now}
        token = jwt.encode(
            {**claims, "jti": secrets.token_hex(8), "access": access},
            self._key,
            algorithm="RS256",
            headers={"x5c": [base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()]},
        )
        return 200, json.dumps({"token": token, "expires_in": 300}).encode()


class Cdn(ThreadedServer):
    """A CDN that serves the files of a registry's storage.

    Like a CDN with signed URLs, it rejects every method but GET, and requests with an Authorization header. It resumes
    downloads.
    """

    def __init__(self, host: str, files: Path) -> None:
        super().__init__(host)
        self._files = files

    def respond(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if request.command != "GET":
            return 403, {}, b""
        if "Authorization" in request.headers:
            return 400, {}, b"only one auth mechanism allowed"
        path = (self._files / urlsplit(request.path).path.lstrip("/")).resolve()
        if not path.is_relative_to(self._files) or not path.is_file():
            return 404, {}, b""
        content = path.read_bytes()
        byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if byte_range is None or int(byte_range[1]) >= len(content):
            return 200, {}, content
        first, last = int(byte_range[1]), min(int(byte_range[2] or len(content)), len(content) - 1)
        return 206, {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]


class ManifestFaultProxy(ThreadedServer):
    """A reverse proxy that can fail for manifests only, as registries did (2025-02-06, 2025-10-20).

    It adds what docker-registry lacks: GHCR's placeholder scope in the challenge of /v2/, Docker Hub's rate-limit
    headers, and tag lists in pages of two tags.
    """

    def __init__(self, host: str, registry_url: str) -> None:
        super().__init__(host)
        self.registry_url = registry_url
        self.fault = ""

    def respond(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        request_headers = {
            name: value for name, value in request.headers.items() if name in ("Accept", "Authorization")
        }
        status, headers, body = send(request.command, self.registry_url + request.path, request_headers)
        if "/manifests/" in request.path and status == 200:
            match self.fault:
                case "wrong digest":
                    body = body.replace(b"{", b"{ ", 1)
                case "500" | "429":
                    return int(self.fault), {}, b""
        passed_names = ("content-type", "docker-content-digest", "www-authenticate", "location")
        if "/tags/list" in request.path and status == 200:
            return self._page(urlsplit(request.path), json.loads(body))
        passed_headers = {name: value for name, value in headers.items() if name.lower() in passed_names}
        if "/manifests/" in request.path:
            passed_headers |= {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
        if request.path == "/v2/" and "Www-Authenticate" in passed_headers:
            passed_headers["Www-Authenticate"] += ',scope="repository:user/image:pull"'
        return status, passed_headers, body

    @staticmethod
    def _page(url: SplitResult, tag_list: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        last = parse_qs(url.query).get("last", [""])[0]
        page = sorted(tag for tag in tag_list["tags"] if tag > last)[:2]
        has_more = page and page[-1] != max(tag_list["tags"])
        link = {"Link": f'<{url.path}?last={page[-1]}&n=2>; rel="next"'} if has_more else {}
        return 200, link, json.dumps({"name": tag_list["name"], "tags": page}).encode()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def send(
    method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return the status, the headers and the body of the response, also of a redirect or an error."""
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with _OPENER.open(request, timeout=10) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()
