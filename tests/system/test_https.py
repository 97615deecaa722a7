"""Real clients pull over HTTPS and verify a certificate from a private root.

They connect through a proxy that resolves the name, because Docker does not verify a registry whose name resolves to a
loopback address.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from tests.process.daemon import Daemon, running
from tests.system.clients import Docker
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry
from tests.tls.authority import Authority, pem

NAME = "docker.lab.test"
SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
answer = "{answer}"
[[tls.certificate]]
chain = "{directory}/live/fullchain.pem"
key = "{directory}/live/privkey.pem"
[[backend]]
name = "main"
url = "{main}"
"""
PRIVATE_ETC = '[ -e "$0/etc/passwd" ] || cp -a /etc/. "$0/etc" && mount --bind "$0/etc" /etc && exec "$@"'
"""A script for bash in a mount namespace: it runs a command with a copy of /etc of its own, under the directory $0."""


class _ConnectTunnel(StreamRequestHandler):
    """Handles CONNECT: it connects to the requested port of 127.0.0.1, whatever the name."""

    def handle(self) -> None:
        _, target, _ = self.rfile.readline().decode("ascii").split()
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as target_socket:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
                selector.register(self.connection, selectors.EVENT_READ, target_socket)
                selector.register(target_socket, selectors.EVENT_READ, self.connection)
                while all(_relay(key.fileobj, key.data) for key, _ in selector.select()):
                    continue


def _relay(source: object, target_socket: socket.socket) -> bool:
    """Relay the next bytes; return whether there were any before the end of the stream."""
    assert isinstance(source, socket.socket)
    data = source.recv(1 << 16)
    target_socket.sendall(data)
    return bool(data)


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    with ThreadingTCPServer(("127.0.0.1", 0), _ConnectTunnel) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short path, because Podman accepts no path of 50 characters or more."""
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


@pytest.fixture(params=["auto", "serve"])
def daemon(
    request: pytest.FixtureRequest, tmp_path: Path, main: DockerRegistry, authority: Authority
) -> Iterator[Daemon]:
    authority.write(tmp_path / "live", NAME)
    settings = SETTINGS.format(name=NAME, answer=request.param, directory=tmp_path, main=main.url)
    daemon = Daemon(tmp_path, settings)
    with running(daemon):
        yield daemon.start()
        assert "Traceback" not in daemon.log


def test_docker_pulls_and_verifies(
    needs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
    proxy: str,
    authority: Authority,
    daemon: Daemon,
    main: DockerRegistry,
) -> None:
    needs("dockerd", "docker", "containerd", "unshare", root=True)
    image = RandomImage.create()
    main.publish(image, "org/app", "latest")
    directory = tmp_path_factory.mktemp("docker")
    etc = directory / "etc"
    etc.mkdir()
    command_prefix = ("env", f"HTTPS_PROXY={proxy}", "unshare", "--mount", "bash", "-c", PRIVATE_ETC, str(directory))
    docker = Docker(directory, command_prefix)
    name = f"{NAME}:{daemon.https}"
    try:
        docker.start()
        (etc / "resolv.conf").write_text("nameserver 127.0.0.99\noptions timeout:1 attempts:1\n")
        rejected = docker.pull_with_docker(f"{name}/org/app:latest")
        assert rejected.returncode != 0
        assert "certificate signed by unknown authority" in rejected.stderr, rejected.stderr
        trusted_directory = etc / "docker" / "certs.d" / name
        trusted_directory.mkdir(parents=True)
        (trusted_directory / "ca.crt").write_bytes(pem(authority.root))
        accepted = docker.pull_with_docker(f"{name}/org/app:latest")
        assert accepted.returncode == 0, f"{accepted.stderr}\n{daemon.log}"
        assert image.digest in accepted.stdout
    finally:
        docker.stop()


@pytest.mark.parametrize("client", ["podman", "skopeo"])
def test_podman_and_skopeo_pull_and_verify(
    needs: Callable[..., None],
    short_path: Path,
    proxy: str,
    authority: Authority,
    daemon: Daemon,
    main: DockerRegistry,
    client: str,
) -> None:
    needs(client, root=True)
    main.publish(RandomImage.create(), "org/app", "latest")
    (short_path / "trusted").mkdir()
    store = ["--storage-driver=vfs", f"--root={short_path}/root", f"--runroot={short_path}/run"]
    image = f"{NAME}:{daemon.https}/org/app:latest"
    command = {
        "podman": ["podman", *store, "pull", f"--cert-dir={short_path}/trusted", image],
        "skopeo": [
            "skopeo",
            "copy",
            f"--src-cert-dir={short_path}/trusted",
            f"docker://{image}",
            f"dir:{short_path}/copy",
        ],
    }[client]

    def pull() -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"HTTPS_PROXY": proxy}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    rejected = pull()
    assert rejected.returncode != 0
    assert "certificate signed by unknown authority" in rejected.stderr
    (short_path / "trusted" / "ca.crt").write_bytes(pem(authority.root))
    accepted = pull()
    assert accepted.returncode == 0, f"{accepted.stderr}\n{daemon.log}"
