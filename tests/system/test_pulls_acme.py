"""Docker and Podman pull from a daemon with a certificate from pebble, and verify it against pebble's root."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.clients import Docker
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry
from tests.system.test_daemon_acme import FIRST_CERTIFICATE, Lab, lab
from tests.system.test_https import NAME, PRIVATE_ETC, proxy, short_path

__all__ = ["lab", "proxy", "short_path"]


@pytest.fixture
def published_image(lab: Lab, main: DockerRegistry) -> RandomImage:
    """An image behind a daemon with a certificate from pebble; the daemon listens at the proxy's target address."""
    lab.daemon.host = lab.pebble.validation_address = "127.0.0.1"
    image = RandomImage.create()
    main.publish(image, "org/app", "latest")
    lab.pebble.start()
    lab.write_settings()
    lab.daemon.write_settings(lab.daemon.settings.replace(lab.main.url, main.url))
    lab.daemon.start()
    lab.daemon.wait_until(lab.is_verified, "verified", FIRST_CERTIFICATE)
    return image


def test_docker_pulls_and_verifies_against_the_root_of_pebble(
    needs: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
    proxy: str,
    lab: Lab,
    published_image: RandomImage,
) -> None:
    needs("dockerd", "docker", "containerd", "unshare", root=True)
    directory = tmp_path_factory.mktemp("docker")
    etc = directory / "etc"
    etc.mkdir()
    command_prefix = ("env", f"HTTPS_PROXY={proxy}", "unshare", "--mount", "bash", "-c", PRIVATE_ETC, str(directory))
    docker = Docker(directory, command_prefix)
    name = f"{NAME}:{lab.daemon.https}"
    try:
        docker.start()
        (etc / "resolv.conf").write_text("nameserver 127.0.0.99\noptions timeout:1 attempts:1\n")
        rejected = docker.pull_with_docker(f"{name}/org/app:latest")
        assert "certificate signed by unknown authority" in rejected.stderr, rejected.stderr
        trusted_directory = etc / "docker" / "certs.d" / name
        trusted_directory.mkdir(parents=True)
        (trusted_directory / "ca.crt").write_bytes(lab.pebble.fetch_root())
        accepted = docker.pull_with_docker(f"{name}/org/app:latest")
        assert accepted.returncode == 0, f"{accepted.stderr}\n{lab.daemon.log}"
        assert published_image.digest in accepted.stdout
    finally:
        docker.stop()


def test_podman_pulls_and_verifies_against_the_root_of_pebble(
    needs: Callable[..., None], short_path: Path, proxy: str, lab: Lab, published_image: RandomImage
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
    (short_path / "trusted" / "ca.crt").write_bytes(lab.pebble.fetch_root())
    accepted = pull()
    assert accepted.returncode == 0, f"{accepted.stderr}\n{lab.daemon.log}"
