"""The active backend changes during a pull by Docker, which reads the token server's URL only from GET /v2/."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, wait_until
from tests.system.clients import Docker
from tests.system.conftest import HANDOVER_ROWS
from tests.system.images import INDEX
from tests.system.outages.fronts import WORKING, FailureMode, FaultProxy, ProxyRequest
from tests.system.outages.stage import REPOSITORY, HostsNamespace, ProxiedRegistry, outage_stage

STAGE = 100
"""A number that no other stage has."""

TAG = "handed-over"

HANDOVER = "5s"
"""Long enough for the rest of a pull, and short enough to wait for its end, because only then docker requests a token
from the second registry."""

OUTAGE = FailureMode(status=503)


def _is_from_docker(request: ProxyRequest) -> bool:
    return request.is_from_docker


def _is_docker_ping(request: ProxyRequest) -> bool:
    return request.is_from_docker and request.target == "/v2/"


def _is_docker_manifest(request: ProxyRequest) -> bool:
    return request.is_from_docker and request.is_manifest


def _hold_request(request_kind: str, proxied_registry: ProxiedRegistry) -> FaultProxy:
    """Hold docker's next request of this kind; return the proxy that holds it."""
    proxy = proxied_registry.token_proxy if request_kind == "token" else proxied_registry.registry_proxy
    proxy.hold_requests(
        {"ping": _is_docker_ping, "token": _is_from_docker, "manifest": _is_docker_manifest}[request_kind]
    )
    return proxy


@pytest.mark.parametrize("request_kind", ["ping", "token", "manifest"])
@pytest.mark.parametrize("change", ["failover", "failback"])
def test_a_pull_succeeds_if_the_active_backend_changes_in_the_middle(
    docker: Docker, namespace: HostsNamespace, tmp_path: Path, change: str, request_kind: str
) -> None:
    """A proxy of the old backend holds one of its requests until the new backend is active."""
    new_stage = outage_stage(STAGE, tmp_path, (TAG,), namespace, answers=("auto",), handover=HANDOVER)
    with new_stage as stage, ThreadPoolExecutor(1) as executor:
        facade = stage.facades["auto"]
        old_backend, new_backend = (stage.main, stage.second) if change == "failover" else (stage.second, stage.main)
        if change == "failback":
            stage.main.registry_proxy.fail(OUTAGE)
            condition = "failover, and the end of its handover"
            facade.wait_until(lambda: facade.backend == "second" and _redirects_manifests(facade), condition)
        proxy = _hold_request(request_kind, old_backend)
        pull = executor.submit(docker.pull_with_docker, f"{facade.host}:{facade.port}/{REPOSITORY}:{TAG}")
        try:
            wait_until(lambda: proxy.held_requests, f"docker's request to {old_backend.name}")
            stage.main.registry_proxy.fail(OUTAGE if change == "failover" else WORKING)
            hold_time = facade.wait_until(lambda: facade.backend == new_backend.name, change)
        finally:
            proxy.release()
        result = pull.result()
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{facade.log}"
        assert new_backend.registry.cdn.requests, f"{new_backend.name} did not serve the layer"
        HANDOVER_ROWS.append((change, request_kind, f"{hold_time:.1f} s", "succeeded"))


def _redirects_manifests(facade: Daemon) -> bool:
    """Return whether the facade redirects manifests, which it does not do during a handover."""
    path = f"/v2/{REPOSITORY}/manifests/{TAG}"
    return facade.get(path, method="HEAD", headers={"Accept": INDEX})[0] == 307
