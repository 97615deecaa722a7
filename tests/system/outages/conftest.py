"""Fixtures of all outages: Docker, a namespace that resolves names, and a certificate authority."""

from collections.abc import Callable, Iterator

import pytest

from tests.system.clients import Docker
from tests.system.outages.fronts import ProxyAuthority
from tests.system.outages.loops import PULL_TIMEOUT
from tests.system.outages.stage import HostsNamespace


@pytest.fixture(scope="package")
def namespace(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostsNamespace]:
    needs("unshare", "nsenter", "mount", root=True)
    namespace = HostsNamespace(tmp_path_factory.mktemp("namespace"))
    try:
        yield namespace.start()
    finally:
        namespace.stop()


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ProxyAuthority:
    return ProxyAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="package")
def docker(
    needs: Callable[..., None],
    namespace: HostsNamespace,
    authority: ProxyAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Docker]:
    needs("dockerd", "docker", "containerd", "ctr", "podman", "skopeo", "docker-registry", root=True)
    docker = Docker(
        tmp_path_factory.mktemp("docker"),
        command_prefix=namespace.command_prefix,
        time_limit=PULL_TIMEOUT,
        ca_file=authority.file,
    )
    try:
        yield docker.start()
    finally:
        docker.stop()
