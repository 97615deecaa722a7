"""Real clients pull over HTTPS, and verify a certificate from a private root.

They reach the name through a proxy that knows its address: Docker does not verify what resolves to a loopback one.
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
from tests.system.images import Image
from tests.system.registries import Registry
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
OWN_ETC = '[ -e "$0/etc/passwd" ] || cp -a /etc/. "$0/etc" && mount --bind "$0/etc" /etc && exec "$@"'


class _Tunnel(StreamRequestHandler):
    """CONNECT, whatever the name, to this machine."""

    def handle(self) -> None:
        _, target, _ = self.rfile.readline().decode("ascii").split()
        while self.rfile.readline().strip():
            pass
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError), selectors.DefaultSelector() as selector:
                selector.register(self.connection, selectors.EVENT_READ, there)
                selector.register(there, selectors.EVENT_READ, self.connection)
                while all(_pass_on(key.fileobj, key.data) for key, _ in selector.select()):
                    continue


def _pass_on(here: object, there: socket.socket) -> bool:
    assert isinstance(here, socket.socket)
    data = here.recv(1 << 16)
    there.sendall(data)
    return bool(data)


@pytest.fixture(scope="module")
def proxy() -> Iterator[str]:
    with ThreadingTCPServer(("127.0.0.1", 0), _Tunnel) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def main(needs: Callable[..., None], tmp_path: Path) -> Iterator[Registry]:
    needs("docker-registry")
    registry = Registry("main", tmp_path / "main", ("127.0.0.2", "127.0.0.4", "127.0.0.6"))
    try:
        yield registry.start()
    finally:
        registry.end()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Podman takes no long one."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture(params=["auto", "serve"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path, main: Registry, authority: Authority) -> Iterator[Daemon]:
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
    main: Registry,
) -> None:
    needs("dockerd", "docker", "containerd", "unshare", root=True)
    image = Image.make()
    main.publish(image, "org/app", "latest")
    directory = tmp_path_factory.mktemp("docker")
    etc = directory / "etc"
    etc.mkdir()
    under = ("env", f"HTTPS_PROXY={proxy}", "unshare", "--mount", "bash", "-c", OWN_ETC, str(directory))
    docker = Docker(directory, under)
    name = f"{NAME}:{daemon.https}"
    try:
        docker.start()
        (etc / "resolv.conf").write_text("nameserver 127.0.0.99\noptions timeout:1 attempts:1\n")
        refused = docker.pull_with_docker(f"{name}/org/app:latest")
        assert refused.returncode != 0
        assert "certificate signed by unknown authority" in refused.stderr, refused.stderr
        trusted = etc / "docker" / "certs.d" / name
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(pem(authority.root))
        pulled = docker.pull_with_docker(f"{name}/org/app:latest")
        assert pulled.returncode == 0, f"{pulled.stderr}\n{daemon.log}"
        assert image.digest in pulled.stdout
    finally:
        docker.end()


@pytest.mark.parametrize("client", ["podman", "skopeo"])
def test_podman_and_skopeo_pull_and_verify(
    needs: Callable[..., None],
    short_path: Path,
    proxy: str,
    authority: Authority,
    daemon: Daemon,
    main: Registry,
    client: str,
) -> None:
    needs(client, root=True)
    main.publish(Image.make(), "org/app", "latest")
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

    refused = pull()
    assert refused.returncode != 0
    assert "certificate signed by unknown authority" in refused.stderr
    (short_path / "trusted" / "ca.crt").write_bytes(pem(authority.root))
    pulled = pull()
    assert pulled.returncode == 0, f"{pulled.stderr}\n{daemon.log}"
