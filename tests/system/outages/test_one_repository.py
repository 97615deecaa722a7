"""One repository fails at the main registry: only this one is served from the second registry."""

import time
from pathlib import Path

from tests.system.clients import Docker
from tests.system.images import INDEX, RandomImage
from tests.system.outages.fronts import FailureMode, ProxyRequest
from tests.system.outages.stage import REPOSITORY, TIMINGS, HostsNamespace, outage_stage

STAGE = 101
"""A number that no other stage has."""

TAG = "one"
DAMAGED = "org/damaged"


def _is_for_damaged_repository(request: ProxyRequest) -> bool:
    return request.target.startswith(f"/v2/{DAMAGED}/manifests/")


def test_only_the_repository_that_answers_500_is_served_from_the_second_registry(
    docker: Docker, namespace: HostsNamespace, tmp_path: Path
) -> None:
    with outage_stage(STAGE, tmp_path, (TAG,), namespace, answers=("serve",)) as stage:
        facade, image = stage.facades["serve"], RandomImage.create(2_000, ("amd64",))
        for proxied_registry in (stage.main, stage.second):
            proxied_registry.registry.publish(image, DAMAGED, TAG)
        stage.main.registry_proxy.fail(FailureMode(_is_for_damaged_repository, status=500))
        deadline = time.monotonic() + 3 * TIMINGS.detected_within(times_out=False, deep=True)
        rounds = 0
        while time.monotonic() < deadline:
            for repository, backend in ((DAMAGED, "second"), (REPOSITORY, "main")):
                status, headers, _ = facade.get(f"/v2/{repository}/manifests/{TAG}", headers={"Accept": INDEX})
                assert (status, headers.get("X-Facaded-Backend")) == (200, backend), facade.log
            rounds += 1
            time.sleep(0.05)  # so many requests at once would be limited
        assert rounds > 10
        for repository in (DAMAGED, REPOSITORY):
            result = docker.pull_with_docker(f"{facade.host}:{facade.port}/{repository}:{TAG}")
            assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{facade.log}"
        assert facade.status()["backends"][0]["state"] == "up"
        assert "main is down" not in facade.log
