"""The parties of a pull, each on an address of its own: registries with token auth, their token servers and CDNs,
and the clients.

The registries are real (Debian's docker-registry). The token servers and CDNs are small and strict: tokens are
demanded for public images as Docker Hub and GHCR do, blobs are redirected to a CDN that takes GET alone and no
Authorization.
"""

import base64
import datetime
import gzip
import hashlib
import io
import json
import secrets
import shutil
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import jwt
from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.process.daemon import free_port, wait_until

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PLATFORMS = ("amd64", "arm64")
PUBLISHER = ("publisher", "publisher-secret")

COMMAND_TIME = 60.0
"""Seconds after which a client's command is ended: more than any pull of these tests takes."""


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
        status, headers, body = _request(request.command, self.registry + request.path, wanted)
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
        return 200, link, _json({"name": listed["name"], "tags": page})


@define
class Registry:
    """A docker-registry with its token server and its CDN, on the three addresses given.

    Without `redirects` it hands out blobs itself; without `demands_tokens` it gives everything to anybody. `token_url`
    and `cdn_url` are where it says that its token server and its CDN are, if something stands before them.
    """

    name: str
    directory: Path
    hosts: tuple[str, str, str]
    redirects: bool = True
    demands_tokens: bool = True
    token_url: str = ""
    cdn_url: str = ""
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    tokens: TokenServer = field(init=False)
    cdn: Cdn = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.port = free_port(self.hosts[0])
        self.tokens = TokenServer(self.hosts[1], f"{self.name}.test", self.directory)
        self.cdn = Cdn(self.hosts[2], self.storage)
        self.tokens.start()
        self.cdn.start()
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}},
            "middleware": {"storage": [{"name": "redirect", "options": {"baseurl": self.cdn_url or self.cdn.url}}]},
            "http": {"addr": f"{self.hosts[0]}:{self.port}", "secret": secrets.token_hex(8)},
            "auth": {
                "token": {
                    "realm": f"{self.token_url or self.tokens.url}/token",
                    "service": self.tokens.service,
                    "issuer": self.tokens.service,
                    "rootcertbundle": str(self.tokens.bundle),
                }
            },
        }
        if not self.redirects:
            del settings["middleware"]
        if not self.demands_tokens:
            del settings["auth"]
        (self.directory / "config.yml").write_text(json.dumps(settings))  # JSON is YAML

    @property
    def url(self) -> str:
        return f"http://{self.hosts[0]}:{self.port}"

    @property
    def storage(self) -> Path:
        """Where everything that was published is kept."""
        return (self.directory / "storage").resolve()

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def start(self) -> "Registry":
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.directory / "config.yml")], stdout=log, stderr=log
            )
        wait_until(lambda: self._status("/v2/") in (200, 401), f"{self.name} answers")
        return self

    def suspend(self, suspended: bool) -> None:
        """Make it hang after accepting, or go on."""
        assert self.process is not None
        self.process.send_signal(19 if suspended else 18)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def end(self) -> None:
        self.kill()
        self.tokens.stop()
        self.cdn.stop()

    def publish(self, image: "Image", repository: str, tag: str) -> None:
        """Push an image as its publisher would."""
        credentials = base64.b64encode(":".join(PUBLISHER).encode()).decode()
        scope = f"scope=repository:{repository}:pull,push&service={self.tokens.service}"
        granted = _request("GET", f"{self.tokens.url}/token?{scope}", {"Authorization": f"Basic {credentials}"})
        authorization = {"Authorization": f"Bearer {json.loads(granted[2])['token']}"}
        for digest, blob in image.blobs.items():
            status, headers, _ = _request("POST", f"{self.url}/v2/{repository}/blobs/uploads/", authorization)
            assert status == 202, status
            upload = {**authorization, "Content-Type": "application/octet-stream"}
            assert _request("PUT", f"{headers['Location']}&digest={digest}", upload, blob)[0] == 201
        for kind, digest, manifest in image.manifests:
            url = f"{self.url}/v2/{repository}/manifests/{tag if digest == image.digest else digest}"
            assert _request("PUT", url, {**authorization, "Content-Type": kind}, manifest)[0] == 201

    def _status(self, path: str) -> int | None:
        try:
            return _request("GET", self.url + path, {})[0]
        except OSError:
            return None


@define
class Image:
    """A multi-platform image: its blobs by digest, and its manifests in the order in which they can be pushed."""

    blobs: dict[str, bytes] = field(factory=dict)
    manifests: list[tuple[str, str, bytes]] = field(factory=list)

    @classmethod
    def make(cls, size: int = 20_000, platforms: tuple[str, ...] = PLATFORMS) -> "Image":
        """An image with a random layer of some `size` bytes for each platform, so that no client has it yet."""
        image = cls()
        entries = []
        for platform in platforms:
            layer, diff_id = _layer(size)
            rootfs = {"type": "layers", "diff_ids": [diff_id]}
            config = _json({"architecture": platform, "os": "linux", "config": {"Cmd": ["/app"]}, "rootfs": rootfs})
            manifest = _json(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": image._add(CONFIG, config),
                    "layers": [image._add(LAYER, layer)],
                }
            )
            image.manifests.append((MANIFEST, _digest(manifest), manifest))
            described = {"mediaType": MANIFEST, "digest": _digest(manifest), "size": len(manifest)}
            entries.append({**described, "platform": {"architecture": platform, "os": "linux"}})
        index = _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
        image.manifests.append((INDEX, _digest(index), index))
        return image

    @property
    def digest(self) -> str:
        return self.manifests[-1][1]

    def _add(self, kind: str, blob: bytes) -> dict[str, Any]:
        self.blobs[_digest(blob)] = blob
        return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}


@define
class Docker:
    """containerd and dockerd, started by hand, with everything of theirs in `directory`.

    All their programs run `under` a command such as nsenter, and no command lasts longer than `seconds`. With a
    `ca_file` ctr trusts its roots alone; otherwise it trusts everybody from a loopback address on, as dockerd does.
    """

    directory: Path
    under: tuple[str, ...] = ()
    seconds: float = COMMAND_TIME
    ca_file: Path | None = None
    processes: list[subprocess.Popen[bytes]] = field(factory=list)

    def start(self) -> "Docker":
        socket = self.directory / "containerd.sock"
        (self.directory / "containerd.toml").write_text(
            f'version = 2\nroot = "{self.directory}/c-root"\nstate = "{self.directory}/c-state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
        )
        self._run(["containerd", "--config", str(self.directory / "containerd.toml")], socket.exists)
        daemon = ["dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs", "--containerd", str(socket)]
        places = {"host": f"unix://{self.directory}/docker.sock", "data-root": self.directory / "d-data"}
        places |= {"exec-root": self.directory / "d-exec", "pidfile": self.directory / "d.pid"}
        places |= {"max-concurrent-downloads": 10}  # a layer that hangs must not keep another pull's from coming
        self._run([*daemon, *(f"--{name}={value}" for name, value in places.items())], self._docker_is_up)
        return self

    def pull_with_docker(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        docker = [*self._docker, "--config", str(self.directory / ("login" if creds else "no-login"))]
        if creds:
            user, _, password = creds.partition(":")
            login = self._command(*docker, "login", "--username", user, "--password", password, image.partition("/")[0])
            if login.returncode != 0:
                return login
        return self._command(*docker, "pull", image)

    def pull_with_ctr(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        user = [f"--user={creds}"] if creds else []
        where = self._hosts_of(image.partition("/")[0], self.ca_file) if self.ca_file else ["--plain-http"]
        return self._command(*self._ctr, "pull", *where, "--snapshotter", "native", *user, image)

    def remove_with_docker(self, image: str) -> None:
        """Forget an image and its layers, if they are there: the next pull fetches all of them."""
        self._command(*self._docker, "rmi", "--force", image)

    def remove_with_ctr(self, image: str) -> None:
        """The same, for ctr's images."""
        self._command(*self._ctr, "remove", "--sync", image)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def _docker(self) -> list[str]:
        return ["docker", "--host", f"unix://{self.directory}/docker.sock"]

    @property
    def _ctr(self) -> list[str]:
        return ["ctr", "--address", str(self.directory / "containerd.sock"), "--namespace", "test", "image"]

    def _hosts_of(self, registry: str, ca_file: Path) -> list[str]:
        """How ctr is told to verify what it is redirected to by a registry on plain HTTP."""
        directory = self.directory / "hosts" / registry
        directory.mkdir(parents=True, exist_ok=True)
        trust = f'capabilities = ["pull", "resolve"]\nca = "{ca_file}"\nskip_verify = false\n'
        (directory / "hosts.toml").write_text(f'server = "http://{registry}"\n[host."http://{registry}"]\n{trust}')
        return ["--hosts-dir", str(directory.parent)]

    def _docker_is_up(self) -> bool:
        return self._command(*self._docker, "info").returncode == 0

    def _command(self, *command: str) -> subprocess.CompletedProcess[str]:
        return _command(*self.under, *command, seconds=self.seconds)

    def _run(self, command: list[str], is_up: Callable[[], bool]) -> None:
        with (self.directory / f"{command[0]}.log").open("wb") as log:
            process = subprocess.Popen([*self.under, *command], stdout=log, stderr=log)
        self.processes.append(process)

        def up() -> bool:
            said = (self.directory / f"{command[0]}.log").read_text()[-2000:]
            assert process.poll() is None, f"{command[0]} has ended:\n{said}"
            return is_up()

        wait_until(up, f"{command[0]} is up", 60)


@define
class Podman:
    """Podman, Buildah and Skopeo, with everything of theirs in `directory`. Each pull begins with an empty store.

    `under` and `seconds` are as with Docker.
    """

    directory: Path
    under: tuple[str, ...] = ()
    seconds: float = COMMAND_TIME
    pulls: int = 0

    def pull_with_podman(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("podman", image, creds)

    def pull_with_buildah(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._pull("buildah", image, creds)

    def pull_with_skopeo(self, image: str, creds: str | None = None) -> subprocess.CompletedProcess[str]:
        self.pulls += 1
        arguments = ["--src-tls-verify=false", *self._creds("--src-creds", creds)]
        copied = [f"docker://{image}", f"dir:{self.directory}/{self.pulls}"]
        return _command(*self.under, "skopeo", "copy", "--all", *arguments, *copied, seconds=self.seconds)

    def forget(self) -> None:
        """Delete what was pulled."""
        for pulled in self.directory.iterdir():
            shutil.rmtree(pulled, ignore_errors=True)

    def _pull(self, program: str, image: str, creds: str | None) -> subprocess.CompletedProcess[str]:
        self.pulls += 1
        store = self.directory / f"store-{self.pulls}"
        places = ["--storage-driver=vfs", f"--root={store}/root", f"--runroot={store}/run"]
        arguments = ["--tls-verify=false", *self._creds("--creds", creds)]
        return _command(*self.under, program, *places, "pull", *arguments, image, seconds=self.seconds)

    @staticmethod
    def _creds(flag: str, creds: str | None) -> list[str]:
        return [f"{flag}={creds}"] if creds else []


def _command(*command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _request(
    method: str, url: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with _OPENER.open(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def _layer(size: int) -> tuple[bytes, str]:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        content = secrets.token_bytes(size)
        entry = tarfile.TarInfo("app")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(tar.getvalue(), 1), _digest(tar.getvalue())


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
