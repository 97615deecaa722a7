"""A pull of classic Docker's during which the active backend changes: it learns its token from the ping alone."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, wait_until
from tests.system.clients import Docker
from tests.system.conftest import HANDOVER_ROWS
from tests.system.images import INDEX
from tests.system.outages.fronts import WORKING, FailureMode, Front, ProxyRequest
from tests.system.outages.stage import REPOSITORY, FrontedRegistry, HostsNamespace, staged

STAGE = 100
"""A number that no outage has."""

TAG = "handed-over"

HANDOVER = "5s"
"""Long enough for the rest of a pull, and short enough to wait for its end: only then docker asks the second registry
for a token."""

OUTAGE = FailureMode(status=503)


def _by_docker(asked: ProxyRequest) -> bool:
    return asked.by_docker


def _ping_by_docker(asked: ProxyRequest) -> bool:
    return asked.by_docker and asked.target == "/v2/"


def _manifest_by_docker(asked: ProxyRequest) -> bool:
    return asked.by_docker and asked.is_manifest


def _held_at(where: str, fronted: FrontedRegistry) -> Front:
    """Hold docker's next request there."""
    front = fronted.tokens if where == "token" else fronted.front
    front.hold({"ping": _ping_by_docker, "token": _by_docker, "manifest": _manifest_by_docker}[where])
    return front


@pytest.mark.parametrize("where", ["ping", "token", "manifest"])
@pytest.mark.parametrize("change", ["failover", "failback"])
def test_a_pull_that_is_under_way_while_the_backend_in_charge_changes_ends_well(
    docker: Docker, names: HostsNamespace, tmp_path: Path, change: str, where: str
) -> None:
    """One of its requests is held at one registry until the other is active."""
    staging = staged(STAGE, tmp_path, (TAG,), names, answers=("auto",), handover=HANDOVER)
    with staging as stage, ThreadPoolExecutor(1) as elsewhere:
        facade = stage.facades["auto"]
        old, new = (stage.main, stage.second) if change == "failover" else (stage.second, stage.main)
        if change == "failback":
            stage.main.front.fail(OUTAGE)
            long_ago = "a failover whose handover is over"
            facade.wait_until(lambda: facade.backend == "second" and _redirects_manifests(facade), long_ago)
        front = _held_at(where, old)
        pull = elsewhere.submit(docker.pull_with_docker, f"{facade.host}:{facade.port}/{REPOSITORY}:{TAG}")
        try:
            wait_until(lambda: front.held, f"docker asks {old.name}")
            stage.main.front.fail(OUTAGE if change == "failover" else WORKING)
            took = facade.wait_until(lambda: facade.backend == new.name, change)
        finally:
            front.release()
        pulled = pull.result()
        assert pulled.returncode == 0, f"{pulled.stdout}\n{pulled.stderr}\n{facade.log}"
        assert new.registry.cdn.requests, "the layer came from elsewhere"
        HANDOVER_ROWS.append((change, where, f"{took:.1f} s", "ended well"))


def _redirects_manifests(facade: Daemon) -> bool:
    """Whether no handover is under way."""
    path = f"/v2/{REPOSITORY}/manifests/{TAG}"
    return facade.get(path, method="HEAD", headers={"Accept": INDEX})[0] == 307
