"""What every outage needs: clients, and names."""

from collections.abc import Callable, Iterator

import pytest

from tests.system.clients import Docker
from tests.system.outages.fronts import FrontAuthority
from tests.system.outages.loops import PULL_TIME
from tests.system.outages.stage import HostsNamespace


@pytest.fixture(scope="package")
def names(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostsNamespace]:
    needs("unshare", "nsenter", "mount", root=True)
    names = HostsNamespace(tmp_path_factory.mktemp("names"))
    try:
        yield names.start()
    finally:
        names.stop()


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> FrontAuthority:
    return FrontAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="package")
def docker(
    needs: Callable[..., None],
    names: HostsNamespace,
    authority: FrontAuthority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Docker]:
    needs("dockerd", "docker", "containerd", "ctr", "podman", "skopeo", "docker-registry", root=True)
    docker = Docker(
        tmp_path_factory.mktemp("docker"),
        command_prefix=names.command_prefix,
        time_limit=PULL_TIME,
        ca_file=authority.file,
    )
    try:
        yield docker.start()
    finally:
        docker.stop()
