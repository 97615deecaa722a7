"""Real clients pull through a real daemon from real registries that demand tokens, before, during and after an
outage.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, running
from tests.system.clients import Docker
from tests.system.images import Image
from tests.system.registries import Registry

SETTINGS = """
repositories = ["org/*"]
[health]
interval = "2s"
fast_interval = "500ms"
timeout = "2s"
fall = 2
failback_after = "3s"
canary = "org/app"
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {{}}
"""

Pull = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def docker(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    needs("dockerd", "docker", "containerd", "ctr", root=True)
    docker = Docker(tmp_path_factory.mktemp("docker"))
    try:
        yield docker.start()
    finally:
        docker.end()


@pytest.fixture
def registries(needs: Callable[..., None], tmp_path: Path) -> Iterator[tuple[Registry, Registry]]:
    needs("docker-registry")
    main = Registry("main", tmp_path / "main", ("127.0.0.2", "127.0.0.4", "127.0.0.6"))
    second = Registry("second", tmp_path / "second", ("127.0.0.3", "127.0.0.5", "127.0.0.7"))
    try:
        yield main.start(), second.start()
    finally:
        main.end()
        second.end()


@pytest.fixture
def daemon(tmp_path: Path, registries: tuple[Registry, Registry]) -> Iterator[Daemon]:
    main, second = registries
    daemon = Daemon(tmp_path, SETTINGS.format(main=main.url, second=second.url))
    with running(daemon):
        yield daemon.start()
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("client", ["docker", "ctr"])
@pytest.mark.parametrize(("how", "seconds"), [("killed", 3), ("hanging", 7), ("without its token server", 3)])
def test_pulls_go_on_through_an_outage_and_come_home_after_it(
    docker: Docker, daemon: Daemon, registries: tuple[Registry, Registry], client: str, how: str, seconds: float
) -> None:
    main, second = registries
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    images = [Image.make() for _ in range(3)]
    for registry in registries:
        for number, image in enumerate(images):
            registry.publish(image, "org/app", f"v{number}")

    def pulls_from(backend: Registry, number: int) -> None:
        before = {registry.name: len(registry.cdn.asked) for registry in registries}
        pulled = pull(f"127.0.0.1:{daemon.port}/org/app:v{number}")
        assert pulled.returncode == 0, f"{pulled.stdout}\n{pulled.stderr}\n{daemon.log}"
        fetched = {registry.name for registry in registries if len(registry.cdn.asked) > before[registry.name]}
        assert fetched == {backend.name}

    pulls_from(main, 0)
    match how:
        case "killed":
            main.kill()
        case "hanging":
            main.suspend(True)
        case _:
            main.tokens.stop()
    took = daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert took <= seconds
    pulls_from(second, 1)
    match how:
        case "killed":
            main.start()
        case "hanging":
            main.suspend(False)
        case _:
            main.tokens.start()
    daemon.wait_until(lambda: daemon.backend == "main", "failback")
    pulls_from(main, 2)
    assert daemon.log.count("second is active") >= 1
    assert "Bearer" not in daemon.log


@pytest.mark.parametrize("client", ["docker", "ctr"])
def test_another_organisation_is_denied_with_the_reason(docker: Docker, daemon: Daemon, client: str) -> None:
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    pulled = pull(f"127.0.0.1:{daemon.port}/evil/app:latest")
    assert pulled.returncode != 0
    said = pulled.stdout + pulled.stderr
    assert "403" in said or "not among the repositories" in said


@pytest.mark.parametrize("client", ["docker", "ctr"])
def test_an_image_is_pulled_by_its_digest(
    docker: Docker, daemon: Daemon, registries: tuple[Registry, Registry], client: str
) -> None:
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    image = Image.make()
    registries[0].publish(image, "org/app", "latest")
    pulled = pull(f"127.0.0.1:{daemon.port}/org/app@{image.digest}")
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
