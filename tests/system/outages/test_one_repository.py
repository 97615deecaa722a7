"""One repository that the main registry cannot give: it is had from the second, and nothing else is."""

import time
from pathlib import Path

from tests.system.clients import Docker
from tests.system.images import INDEX, Image
from tests.system.outages.fronts import Asked, Failure
from tests.system.outages.stage import PACE, REPOSITORY, Names, staged

STAGE = 101
"""A number that no other has."""

TAG = "one"
DAMAGED = "org/damaged"


def _of_the_damaged(asked: Asked) -> bool:
    return asked.target.startswith(f"/v2/{DAMAGED}/manifests/")


def test_a_repository_that_answers_500_is_served_from_the_second_while_all_else_stays_on_the_main_one(
    docker: Docker, names: Names, tmp_path: Path
) -> None:
    with staged(STAGE, tmp_path, (TAG,), names, answers=("serve",)) as stage:
        facade, image = stage.facades["serve"], Image.make(2_000, ("amd64",))
        for fronted in (stage.main, stage.second):
            fronted.registry.publish(image, DAMAGED, TAG)
        stage.main.front.fail(Failure(_of_the_damaged, status=500))
        ends = time.monotonic() + 3 * PACE.noticed_within(times_out=False, deep=True)
        asked = 0
        while time.monotonic() < ends:
            for repository, backend in ((DAMAGED, "second"), (REPOSITORY, "main")):
                status, headers, _ = facade.get(f"/v2/{repository}/manifests/{TAG}", headers={"Accept": INDEX})
                assert (status, headers["X-Facaded-Backend"]) == (200, backend), facade.log
            asked += 1
        assert asked > 10
        for repository in (DAMAGED, REPOSITORY):
            pulled = docker.pull_with_docker(f"{facade.host}:{facade.port}/{repository}:{TAG}")
            assert pulled.returncode == 0, f"{pulled.stdout}\n{pulled.stderr}\n{facade.log}"
        assert facade.status()["backends"][0]["state"] == "up"
        assert "main is down" not in facade.log
