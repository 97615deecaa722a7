"""Real clients pull through a daemon from registries that require tokens: before, during and after an outage."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, running
from tests.system.clients import Docker
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry

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


@pytest.fixture(scope="module")
def docker(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    needs("dockerd", "docker", "containerd", "ctr", root=True)
    docker = Docker(tmp_path_factory.mktemp("docker"))
    try:
        yield docker.start()
    finally:
        docker.stop()


@pytest.fixture
def daemon(tmp_path: Path, main: DockerRegistry, second: DockerRegistry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, SETTINGS.format(main=main.url, second=second.url))
    with running(daemon):
        yield daemon.start()
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("client", ["docker", "ctr"])
@pytest.mark.parametrize(("outage", "time_limit"), [("killed", 3), ("hanging", 8.5), ("without its token server", 3)])
def test_pulls_fail_over_in_an_outage_and_fail_back_after_it(
    docker: Docker,
    daemon: Daemon,
    main: DockerRegistry,
    second: DockerRegistry,
    client: str,
    outage: str,
    time_limit: float,
) -> None:
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    images = [RandomImage.create() for _ in range(3)]
    for registry in (main, second):
        for number, image in enumerate(images):
            registry.publish(image, "org/app", f"v{number}")

    def assert_pulled_from(backend: DockerRegistry, number: int) -> None:
        before = {registry.name: len(registry.cdn.requests) for registry in (main, second)}
        result = pull(f"127.0.0.1:{daemon.port}/org/app:v{number}")
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{daemon.log}"
        used_registries = {
            registry.name for registry in (main, second) if len(registry.cdn.requests) > before[registry.name]
        }
        assert used_registries == {backend.name}

    assert_pulled_from(main, 0)
    match outage:
        case "killed":
            main.kill()
        case "hanging":
            main.suspend(True)
        case _:
            main.tokens.stop()
    failover_time = daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert failover_time <= time_limit
    assert_pulled_from(second, 1)
    match outage:
        case "killed":
            main.start()
        case "hanging":
            main.suspend(False)
        case _:
            main.tokens.start()
    daemon.wait_until(lambda: daemon.backend == "main", "failback")
    assert_pulled_from(main, 2)
    assert daemon.log.count("second is active") >= 1
    assert "Bearer" not in daemon.log


@pytest.mark.parametrize("client", ["docker", "ctr"])
def test_a_repository_outside_the_settings_is_denied_with_the_reason(
    docker: Docker, daemon: Daemon, client: str
) -> None:
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    result = pull(f"127.0.0.1:{daemon.port}/evil/app:latest")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "403" in output or "not among the repositories" in output


@pytest.mark.parametrize("client", ["docker", "ctr"])
def test_an_image_is_pulled_by_its_digest(docker: Docker, daemon: Daemon, main: DockerRegistry, client: str) -> None:
    pull = {"docker": docker.pull_with_docker, "ctr": docker.pull_with_ctr}[client]
    image = RandomImage.create()
    main.publish(image, "org/app", "latest")
    result = pull(f"127.0.0.1:{daemon.port}/org/app@{image.digest}")
    assert result.returncode == 0, result.stdout + result.stderr
