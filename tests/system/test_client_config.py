"""`facaded client-config`: a pull goes on when the facade is killed, because the client asks the registries itself.

buildkit_by_hand.py has the test of BuildKit, which is in no Debian release.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, running
from tests.system.clients import Docker, run_command
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry

SETTINGS = """
repositories = ["org/*"]
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {rename}
"""

Pull = Callable[[str, Path, str], subprocess.CompletedProcess[str]]
"""Pulls a repository by a tag, with the configuration in a file: the facade's host, the file, and `org/app:tag`."""


@pytest.fixture
def containerd(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    needs("containerd", "ctr", "dockerd", "docker", root=True)
    client = Docker(tmp_path_factory.mktemp("docker"))  # a short path, for its sockets
    try:
        yield client.start()
    finally:
        client.stop()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory for programs that accept no path of 50 characters or more."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def check_pulls(
    client: str, pull: Pull, daemon: Daemon, registries: tuple[DockerRegistry, DockerRegistry], second_name: str
) -> None:
    """Pull through the facade; kill it and pull from the main registry; kill that too and pull from the second."""
    main, second = registries
    for tag in ("through", "main", "second"):
        image = RandomImage.create()
        main.publish(image, "org/app", tag)
        second.publish(image, second_name, tag)
    host = f"127.0.0.1:{daemon.port}"
    daemon.start()
    file = daemon.directory / f"{client}.conf"
    file.write_text(daemon.run("client-config", client, "--url", f"http://{host}").stdout)
    with running(daemon):
        for tag, cdn in (("through", main.cdn), ("main", main.cdn), ("second", second.cdn)):
            cdn.requests.clear()
            result = pull(host, file, f"org/app:{tag}")
            assert result.returncode == 0, f"{tag}: {result.stdout}\n{result.stderr}\n{file.read_text()}"
            assert cdn.requests, f"{tag}: from the registry of this step"
            if tag == "through":
                daemon.wait_until(lambda: "/v2/org/app/manifests/" in daemon.log, "the facade was asked first")
                daemon.kill()
            else:
                main.kill()


def render(main: DockerRegistry, second: DockerRegistry, rename: str) -> str:
    return SETTINGS.format(main=main.url, second=second.url, rename=rename)


def test_containerd_asks_the_backends_when_the_facade_is_gone(
    containerd: Docker, tmp_path: Path, main: DockerRegistry, second: DockerRegistry
) -> None:
    def pull(host: str, file: Path, reference: str) -> subprocess.CompletedProcess[str]:
        directory = tmp_path / "certs.d" / host
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, directory / "hosts.toml")
        ctr = ["ctr", "--address", str(containerd.directory / "containerd.sock"), "image", "pull"]
        options = ["--hosts-dir", str(tmp_path / "certs.d"), "--snapshotter", "native"]
        return run_command(*ctr, *options, f"{host}/{reference}", time_limit=60)

    daemon = Daemon(tmp_path, render(main, second, '{ "**" = "mirror/**" }'))
    check_pulls("containerd", pull, daemon, (main, second), "mirror/org/app")


@pytest.mark.parametrize("program", ["podman", "buildah"])
def test_podman_and_buildah_ask_the_backends_when_the_facade_is_gone(
    needs: Callable[..., None],
    short_path: Path,
    tmp_path: Path,
    main: DockerRegistry,
    second: DockerRegistry,
    program: str,
) -> None:
    needs(program, root=True)

    def pull(host: str, file: Path, reference: str) -> subprocess.CompletedProcess[str]:
        stores = ["--storage-driver=vfs", f"--root={short_path}/root", f"--runroot={short_path}/run"]
        return subprocess.run(
            [program, *stores, "pull", f"{host}/{reference}"],
            env=os.environ | {"CONTAINERS_REGISTRIES_CONF": str(file)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    daemon = Daemon(tmp_path, render(main, second, '{ "org/*" = "theirs/*" }'))
    check_pulls("podman", pull, daemon, (main, second), "theirs/app")
