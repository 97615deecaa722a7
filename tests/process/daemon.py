"""A real facaded in a process of its own, and registries that can be told to fail."""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import define, field

SECRETS = ("Bearer", "Basic ", "eyJ", "publisher-secret", "Authorization")
"""What tokens, passwords and their headers look like: none of it belongs in a log."""

WAIT = 15.0
"""Seconds after which a test gives up waiting."""

TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "facaded", "--config"]
"""The arguments of a Daemon that twistd starts."""

FAST = """
repositories = ["org/*"]
[health]
interval = "2s"
fast_interval = "500ms"
timeout = "2s"
fall = 2
failback_after = "1s"
[[backend]]
name = "main"
url = "{main.url}"
[[backend]]
name = "second"
url = "{second.url}"
rename = {{}}
"""
"""Settings of a daemon with two registries that notices an outage within seconds."""

MANIFEST = json.dumps({"config": {"digest": f"sha256:{'a' * 64}", "size": 2}}).encode()
"""What the registries of this module have for every manifest, and for every blob, which they do not redirect."""


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT) -> float:
    """Wait for a condition; gives the seconds it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - begun


class Registry:
    """A registry on an address of its own that answers pings, and the heads of manifests, by its `mode`.

    `token`: a challenge, and a token for everybody; `no-token`: the same challenge, and 500 from its token server;
    `hang`: accepts, and never answers (as registries did in 2021 and GHCR's token server did); `500`; `refuses`: a
    token for everybody, and 401 for every manifest (Docker Hub, 2025-09-24); `manifests-500` (Docker Hub, 2025-10-20);
    `used-up`: no pulls are left. Stopped, it refuses connections.
    """

    def __init__(self, host: str, mode: str = "token") -> None:
        self.host, self.mode, self.port = host, mode, free_port(host)
        self.asked: list[str] = []
        self.server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> "Registry":
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((self.host, self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        mode = self.mode
        if mode == "hang":
            wait_until(lambda: self.mode != "hang" or self.server is None, "the end of the test", 60)
            return
        status, body, headers = self._said(mode, request.path)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _said(self, mode: str, path: str) -> tuple[int, bytes, dict[str, str]]:
        challenge = {"WWW-Authenticate": f'Bearer realm="{self.url}/token",service="test"'}
        if mode == "500":
            return 500, b"", {}
        if path.startswith("/token"):
            return (500, b"", {}) if mode == "no-token" else (200, b'{"token": "t"}', {})
        if path == "/v2/":
            return 401, b"{}", challenge
        if mode in ("refuses", "manifests-500"):
            return (401, b"", challenge) if mode == "refuses" else (500, b"", {})
        left = "0" if mode == "used-up" else "76"
        digest = {"Docker-Content-Digest": f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"}
        return 200, MANIFEST, {**digest, "RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": f"{left};w=21600"}


def fail(registry: Registry, how: str) -> None:
    if how == "refuse":
        registry.stop()
    else:
        registry.mode = how


@define
class Daemon:
    """facaded in a process, with its settings in `directory`. `arguments` is how it is started."""

    directory: Path
    settings: str
    host: str = "127.0.0.1"
    environ: dict[str, str] = field(factory=dict)
    arguments: list[str] = field(factory=lambda: [sys.executable, "-m", "facaded", "--config"])
    port: int = field(factory=free_port)
    admin: int = field(factory=free_port)
    https: int = field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.directory / "facaded.toml"

    @property
    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def write_settings(self, settings: str | None = None) -> None:
        self.settings = self.settings if settings is None else settings
        control = f"unix:{self.directory}/control.sock"
        https = f'https = "tcp:{self.https}:interface={self.host}"' if "[tls" in self.settings else ""
        listen = f"""
            [listen]
            http = "tcp:{self.port}:interface={self.host}"
            admin = "tcp:{self.admin}:interface=127.0.0.1"
            {https}
            control = "{control}"
            [state]
            directory = "{self.directory}/state"
        """
        self.config.write_text(f"{self.settings}\n{listen}")

    def spawn(self) -> "Daemon":
        self.write_settings()
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "NOTIFY_"))}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.arguments, str(self.config)], stdout=log, stderr=log, env=environ | self.environ
            )
        return self

    def start(self) -> "Daemon":
        """Start, and wait until it is ready."""
        self.spawn()
        self.wait_until(lambda: self.ready, "ready")
        return self

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = WAIT) -> float:
        def holds() -> object:
            assert self.process is not None
            assert self.process.poll() is None, f"the daemon has ended:\n{self.log}"
            return condition()

        return wait_until(holds, f"{what}\n{self.log}", seconds)

    def stop(self) -> int:
        """Stop it as a service manager does; gives its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(WAIT)
        self.process = None
        return status

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(WAIT)
        self.process = None

    @property
    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/readyz", port=self.admin, host="127.0.0.1")[0] == 200
        return False

    @property
    def backend(self) -> str | None:
        """The backend that a ping is redirected to."""
        return self.get("/v2/")[1].get("X-Facaded-Backend")

    def get(
        self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, port: int = 0, host: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(host or self.host, port or self.port, timeout=WAIT)
        try:
            connection.request(method, path, headers={"User-Agent": "docker/28"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def control(self, method: str, resource: str) -> int:
        """Ask the control socket itself, which takes less time than a command; gives the status."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(WAIT)
            control.connect(f"{self.directory}/control.sock")
            control.sendall(f"{method} {resource} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            return int(control.makefile("rb").readline().split()[1])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of facaded's on these settings."""
        command, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "facaded", command, "--config", str(self.config), *rest],
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )

    def check(self, *arguments: str) -> str:
        """Run `facaded check`, and return its output with the wrapped lines joined."""
        return " ".join(self.run("check", *arguments).stdout.split())

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return document


@contextlib.contextmanager
def running(*parts: Registry | Daemon) -> Iterator[None]:
    """End what a test has started, however it ends; and see that no daemon of its has written a secret."""
    try:
        yield
        for part in parts:
            if isinstance(part, Daemon):
                assert [secret for secret in SECRETS if secret in part.log] == []
    finally:
        for part in parts:
            if isinstance(part, Registry):
                part.stop()
            elif part.process is not None:
                part.kill()
