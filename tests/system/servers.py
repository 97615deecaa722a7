"""Small and strict HTTP servers: a token server, a CDN, and a front that fails.

Tokens are demanded for public images as Docker Hub and GHCR do; the CDN, to which blobs are redirected, takes GET alone
and no Authorization.
"""

import base64
import datetime
import json
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
    request_queue_size = 64  # 5 of them, as it would be, overflow when several clients pull at once


class Server:
    """An HTTP server in a thread. `asked` keeps method and path of what it was asked."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, free_port(host)
        self.asked: list[tuple[str, str]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        party = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                party.asked.append((self.command, self.path))
                status, headers, body = party.reply(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                """containerd tries OAuth first, and falls back to GET at a 405."""
                self.send_error(405)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _HTTPServer((self.host, self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def reply(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer."""
        status, body = self.answer(request)
        return status, {}, body

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        """The same without headers."""
        raise NotImplementedError


class TokenServer(Server):
    """Docker's token server:

    JWT, RS256, its certificate in `x5c`. Anybody may pull; `pull,push` is for the publisher alone, as at GHCR.
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

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        query = parse_qs(urlsplit(request.path).query)
        given = request.headers.get("Authorization", "")
        publisher = given == "Basic " + base64.b64encode(":".join(PUBLISHER).encode()).decode()
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            if ("push" in actions or name in self.private) and not publisher:
                return 403, b'{"errors": [{"code": "DENIED"}]}'
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        claims = {"iss": self.service, "sub": "", "aud": self.service, "exp": now + 300, "nbf": now - 10, "iat": now}
        token = jwt.encode(
            {**claims, "jti": secrets.token_hex(8), "access": access},
            self._key,
            algorithm="RS256",
            headers={"x5c": [base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()]},
        )
        return 200, json.dumps({"token": token, "expires_in": 300}).encode()


class Cdn(Server):
    """Hands out the files of a registry's storage.

    Addresses are signed for GET alone, and an Authorization is one too many.
    """

    def __init__(self, host: str, files: Path) -> None:
        super().__init__(host)
        self._files = files

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        if request.command != "GET":
            return 403, b""
        if "Authorization" in request.headers:
            return 400, b"only one auth mechanism allowed"
        path = (self._files / urlsplit(request.path).path.lstrip("/")).resolve()
        if not path.is_relative_to(self._files) or not path.is_file():
            return 404, b""
        return 200, path.read_bytes()


class Faulty(Server):
    """A front of a registry that fails for manifests alone, as registries did (2025-02-06, 2025-10-20).

    What it passes on has GHCR's placeholder scope in the ping's challenge, Docker Hub's rate-limit headers, and two
    tags on a page: docker-registry gives all of them at once.
    """

    def __init__(self, host: str, registry: str) -> None:
        super().__init__(host)
        self.registry = registry
        self.fault = ""

    def reply(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        wanted = {name: value for name, value in request.headers.items() if name in ("Accept", "Authorization")}
        status, headers, body = send(request.command, self.registry + request.path, wanted)
        if "/manifests/" in request.path and status == 200:
            match self.fault:
                case "wrong digest":
                    body = body.replace(b"{", b"{ ", 1)
                case "500" | "429":
                    return int(self.fault), {}, b""
        passed = ("content-type", "docker-content-digest", "www-authenticate", "location")
        if "/tags/list" in request.path and status == 200:
            return self._page(urlsplit(request.path), json.loads(body))
        passed_on = {name: value for name, value in headers.items() if name.lower() in passed}
        if "/manifests/" in request.path:
            passed_on |= {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
        if request.path == "/v2/" and "Www-Authenticate" in passed_on:
            passed_on["Www-Authenticate"] += ',scope="repository:user/image:pull"'
        return status, passed_on, body

    @staticmethod
    def _page(asked: SplitResult, listed: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        last = parse_qs(asked.query).get("last", [""])[0]
        page = sorted(tag for tag in listed["tags"] if tag > last)[:2]
        more = page and page[-1] != max(listed["tags"])
        link = {"Link": f'<{asked.path}?last={page[-1]}&n=2>; rel="next"'} if more else {}
        return 200, link, json.dumps({"name": listed["name"], "tags": page}).encode()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def send(
    method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with _OPENER.open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()
