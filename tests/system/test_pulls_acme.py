"""Docker and Podman pull from a daemon whose certificate came from pebble, and verify it by pebble's root."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.clients import Docker
from tests.system.images import Image
from tests.system.registries import Registry as Main
from tests.system.test_daemon_acme import FIRST, Lab, lab
from tests.system.test_https import NAME, OWN_ETC, main, proxy, short_path

__all__ = ["lab", "main", "proxy", "short_path"]


@pytest.fixture
def pulled(lab: Lab, main: Main) -> Image:
    """An image behind a daemon with a certificate of pebble's, for which both listen where the proxy leads."""
    lab.daemon.host = lab.ca.address = "127.0.0.1"
    image = Image.make()
    main.publish(image, "org/app", "latest")
    lab.ca.start()
    lab.write_settings()
    lab.daemon.write_settings(lab.daemon.settings.replace(lab.main.url, main.url))
    lab.daemon.start()
    lab.daemon.wait_until(lab.verifies, "verified", FIRST)
    return image


def test_docker_pulls_and_verifies_by_pebbles_root(
    needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory, proxy: str, lab: Lab, pulled: Image
) -> None:
    needs("dockerd", "docker", "containerd", "unshare", root=True)
    directory = tmp_path_factory.mktemp("docker")
    etc = directory / "etc"
    etc.mkdir()
    under = ("env", f"HTTPS_PROXY={proxy}", "unshare", "--mount", "bash", "-c", OWN_ETC, str(directory))
    docker = Docker(directory, under)
    name = f"{NAME}:{lab.daemon.https}"
    try:
        docker.start()
        (etc / "resolv.conf").write_text("nameserver 127.0.0.99\noptions timeout:1 attempts:1\n")
        refused = docker.pull_with_docker(f"{name}/org/app:latest")
        assert "certificate signed by unknown authority" in refused.stderr, refused.stderr
        trusted = etc / "docker" / "certs.d" / name
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(lab.ca.root())
        done = docker.pull_with_docker(f"{name}/org/app:latest")
        assert done.returncode == 0, f"{done.stderr}\n{lab.daemon.log}"
        assert pulled.digest in done.stdout
    finally:
        docker.end()


def test_podman_pulls_and_verifies_by_pebbles_root(
    needs: Callable[..., None], short_path: Path, proxy: str, lab: Lab, pulled: Image
) -> None:
    needs("podman", root=True)
    (short_path / "trusted").mkdir()
    store = ["--storage-driver=vfs", f"--root={short_path}/root", f"--runroot={short_path}/run"]
    image = f"{NAME}:{lab.daemon.https}/org/app:latest"
    command = ["podman", *store, "pull", f"--cert-dir={short_path}/trusted", image]

    def pull() -> subprocess.CompletedProcess[str]:
        environ = os.environ | {"HTTPS_PROXY": proxy}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert "certificate signed by unknown authority" in pull().stderr
    (short_path / "trusted" / "ca.crt").write_bytes(lab.ca.root())
    done = pull()
    assert done.returncode == 0, f"{done.stderr}\n{lab.daemon.log}"
