"""facaded in a process, and registries that fail on demand."""

import contextlib
import hashlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import define, field

from tests.several_processes import living, with_workers, workers_of_tests

SECRETS = ("Bearer", "Basic ", "eyJ", "publisher-secret", "Authorization")
"""Parts of tokens, passwords and their headers, which must not be in a log."""

WAIT = 15.0
"""Seconds that a test waits for anything."""

TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "facaded", "--config"]
"""The `arguments` of a Daemon under twistd."""

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
"""Settings with two registries and short times, so that an outage is noticed within seconds."""

MANIFEST = json.dumps({"config": {"digest": f"sha256:{'a' * 64}", "size": 2}}).encode()
"""The content of every manifest and every blob of these registries. They do not redirect blobs."""

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


_used_ports: set[int] = set()

RANDOM = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free at every address, and another one each time.

    It is one that no connection gets for its own end, and a random one, because other tests may run beside this one.
    """
    while True:
        port = RANDOM.randrange(20_000, 32_768)
        if port in _used_ports:
            continue
        _used_ports.add(port)
        with contextlib.suppress(OSError), socket.socket() as probe, socket.socket() as everywhere:
            probe.bind((host, port))
            probe.close()
            everywhere.bind(("", port))
            return port


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], description: str, seconds: float = WAIT) -> float:
    """Wait for a condition, and return the seconds that it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"{description}: not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


class Registry:
    """A registry on its own address that answers `GET /v2/` and manifests according to its `mode`.

    `token`: a challenge, and a token for every client; `no-token`: the challenge, and 500 from the token server;
    `hang`: accepts connections and never answers (registries in 2021, GHCR's token server); `500`; `refuses`: a token
    for every client, and 401 for every manifest (Docker Hub, 2025-09-24); `manifests-500` (Docker Hub, 2025-10-20);
    `used-up`: no pulls are left. A stopped registry refuses connections. `requests` has the paths of all requests.
    """

    def __init__(self, host: str, mode: str = "token") -> None:
        self.host, self.mode, self.port = host, mode, free_port(host)
        self.requests: list[str] = []
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
        self.requests.append(request.path)
        mode = self.mode
        if mode == "hang":
            wait_until(lambda: self.mode != "hang" or self.server is None, "the end of the test", 60)
            return
        status, body, headers = self._respond(mode, request.path)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def _respond(self, mode: str, path: str) -> tuple[int, bytes, dict[str, str]]:
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
        headers = {
            "Docker-Content-Digest": f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}",
            "Content-Type": MANIFEST_TYPE,
        }
        return 200, MANIFEST, {**headers, "RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": f"{left};w=21600"}


def fail(registry: Registry, fault: str) -> None:
    if fault == "refuse":
        registry.stop()
    else:
        registry.mode = fault


@define
class Daemon:
    """facaded in a process, with its files in `directory`. `arguments` start it; the path of the settings follows.

    `state` has more settings of [state].
    """

    directory: Path
    settings: str
    host: str = "127.0.0.1"
    environ: dict[str, str] = field(factory=dict)
    arguments: list[str] = field(factory=lambda: [sys.executable, "-m", "facaded", "--config"])
    port: int = field(factory=free_port)
    admin: int = field(factory=free_port)
    https: int = field(factory=free_port)
    state: str = ""
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
        interface = self.host.replace(":", r"\\:")
        https = f'https = "tcp:{self.https}:interface={interface}"' if "[tls" in self.settings else ""
        listen = f"""
            [listen]
            http = "tcp:{self.port}:interface={interface}"
            admin = "tcp:{self.admin}:interface=127.0.0.1"
            {https}
            control = "{control}"
            [state]
            directory = "{self.directory}/state"
            {self.state}
        """
        self.config.write_text(f"{with_workers(self.settings)}\n{listen}")

    def spawn(self) -> "Daemon":
        self.write_settings()
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("REGISTRY_", "NOTIFY_"))}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.arguments, str(self.config)],
                stdout=log,
                stderr=log,
                env=environ | self.environ,
                process_group=0,  # see `kill`
            )
        return self

    def use_checkout(self, directory: Path) -> None:
        """Run the facaded of another checkout, whatever the working directory is."""
        self.arguments = [*self.arguments[:-3], "-P", *self.arguments[-3:]]
        self.environ = self.environ | {"PYTHONPATH": str(directory)}

    def start(self) -> "Daemon":
        """Start, and wait until it is ready, and all of its processes answer."""
        self.spawn()
        self.wait_for_start()
        return self

    def wait_for_start(self) -> None:
        """Wait until a daemon that was spawned is ready, and all of its processes answer."""
        self.wait_until(lambda: self.ready, "ready")
        workers = tomllib.loads(self.config.read_text()).get("workers", 1)
        if workers == workers_of_tests() > 1:
            self.wait_until(lambda: self.answering == workers, f"{workers} processes answer")

    def wait_until(self, condition: Callable[[], object], description: str, seconds: float = WAIT) -> float:
        def holds() -> object:
            assert self.process is not None
            assert self.process.poll() is None, "the daemon has ended"
            return condition()

        try:
            return wait_until(holds, description, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until the log has `text` so many times, and require that it is not there more often.

        A thread of the daemon writes the log, some ms after what it tells of.
        """
        self.wait_until(lambda: self.log.count(text) >= times, f"the log has {text!r}")
        assert self.log.count(text) == times

    def stop(self) -> int:
        """Stop it as a service manager does, and return its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(WAIT)
        if workers_of_tests() > 1:
            assert living(self.process.pid) == [], f"the first process ended before the others:\n{self.log}"
        self.process = None
        return status

    def kill(self) -> None:
        """Kill all of its processes at once, as a machine that loses its power does: none replaces another one."""
        assert self.process is not None
        group = self.process.pid
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(group, signal.SIGKILL)
        self.process.wait(WAIT)
        wait_until(lambda: not living(group), "all of its processes end")
        self.process = None

    @property
    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/readyz", port=self.admin, host="127.0.0.1")[0] == 200
        return False

    @property
    def answering(self) -> int:
        """How many processes answer clients, by the metrics."""
        metrics = self.get("/metrics", port=self.admin, host="127.0.0.1")[2].decode()
        match = re.search(r"^facaded_workers (\d+)", metrics, re.MULTILINE)
        return int(match[1]) if match else 0

    @property
    def backend(self) -> str | None:
        """The backend that `GET /v2/` is redirected to, for a client that may ping as often as it likes.

        A ping that waits 1 s for a check, as on a busy machine, is answered by the facade: another one follows it.
        """
        for _ in range(3):
            headers = self.get("/v2/", headers={"User-Agent": "containerd/2.1.9"})[1]
            if "X-Facaded-Backend" in headers:
                return headers["X-Facaded-Backend"]
        return None

    def get(
        self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, port: int = 0, host: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(host or self.host, port or self.port, timeout=WAIT)
        try:
            connection.request(method, path, headers={"User-Agent": "docker/28"} | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def control(self, method: str, resource: str) -> int:
        """Send a request to the control socket, which is faster than a command, and return the status."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(WAIT)
            control.connect(f"{self.directory}/control.sock")
            control.sendall(f"{method} {resource} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            return int(control.makefile("rb").readline().split()[1])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command with these settings."""
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
    """Stop these registries and daemons at the end of a test; check that no log contains a secret."""
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
