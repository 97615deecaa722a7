"""conf/Containerfile: built without a network, it runs as a user of its own with a read-only root, and docker pulls.

.ci/run prepares the base image and the wheels, and sets the variables that name them.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import define

from tests.process.daemon import free_port, wait_until
from tests.system.clients import Docker, run_command
from tests.system.images import RandomImage
from tests.system.registries import DockerRegistry

ROOT = Path(__file__).parent.parent.parent
BASE, WHEELS = "FACADED_BASE_IMAGE", "FACADED_WHEELS"
"""Variables with the paths of a tar file of a Debian root with python3-venv, and of a directory of wheels."""

SOURCES = ("facaded", "conf", "systemd", "pyproject.toml", "README.md", "LICENSE")
"""What the build needs of the checkout."""

SETTINGS = """
repositories = ["org/*"]
[listen]
http = ":{port}"
[[backend]]
name = "main"
url = "{url}"
"""


@define
class Containers:
    """Podman with its own storage in `directory`."""

    directory: Path

    def run(self, *arguments: str, time_limit: float = 60.0) -> subprocess.CompletedProcess[str]:
        stores = [f"--root={self.directory}/root", f"--runroot={self.directory}/run", "--storage-driver=vfs"]
        return run_command("podman", *stores, "--runtime=runc", *arguments, time_limit=time_limit)

    def output(self, *arguments: str, time_limit: float = 60.0) -> str:
        result = self.run(*arguments, time_limit=time_limit)
        assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result.stdout.strip()

    def wait_until_healthy(self) -> None:
        wait_until(lambda: self.run("healthcheck", "run", "facaded").returncode == 0, "healthy", 60)


@pytest.fixture(scope="module")
def containers(needs: Callable[..., None]) -> Iterator[Containers]:
    needs("podman", "runc", root=True)
    missing = [name for name in (BASE, WHEELS) if not os.environ.get(name)]
    needs(unmet=f"set {' and '.join(missing)}: see .ci/run" if missing else "")
    with tempfile.TemporaryDirectory() as directory:  # podman accepts no path of 50 characters or more
        containers = Containers(Path(directory))
        containers.output("import", os.environ[BASE], "localhost/base", time_limit=300)
        context = Path(directory) / "context"
        context.mkdir()
        for name in SOURCES:
            copy: Any = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, context / name)
        shutil.copytree(os.environ[WHEELS], context / "wheels")
        build_arguments = {"BASE": "localhost/base", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/source/wheels"}
        options = [f"--build-arg={name}={argument}" for name, argument in build_arguments.items()]
        options += ["--format=docker", "--network=none", "--layers=false", f"--file={ROOT}/conf/Containerfile"]
        containers.output("build", *options, "--tag=facaded", str(context), time_limit=600)
        yield containers
        containers.run("rm", "--all", "--force")


@pytest.fixture
def docker(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    needs("containerd", "dockerd", "docker", root=True)
    client = Docker(tmp_path_factory.mktemp("docker"))
    try:
        yield client.start()
    finally:
        client.stop()


def test_the_image_runs_without_privileges_on_a_read_only_root_and_docker_pulls(
    containers: Containers, docker: Docker, tmp_path: Path, main: DockerRegistry
) -> None:
    main.publish(RandomImage.create(), "org/app", "latest")
    port, settings = free_port(), tmp_path / "facaded.toml"
    settings.write_text(SETTINGS.format(port=port, url=main.url))
    options = ["--detach", "--name=facaded", "--network=host", "--read-only", "--cap-drop=all"]
    options += ["--security-opt=no-new-privileges", f"--volume={settings}:/etc/facaded/facaded.toml:ro"]
    options += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]  # this machine may allow no more
    containers.output("run", *options, "facaded")
    containers.wait_until_healthy()
    assert containers.output("exec", "facaded", "id", "-u") == "65532"
    assert containers.run("exec", "facaded", "touch", "/opt/facaded/x").returncode != 0
    assert "main is active" in containers.output("exec", "facaded", "facaded", "status")
    assert containers.output("exec", "facaded", "facaded", "example-config").startswith("hosts = ")
    pull = docker.pull_with_docker(f"127.0.0.1:{port}/org/app")
    assert pull.returncode == 0, pull.stderr
    assert main.cdn.requests
    containers.output("kill", "--signal=KILL", "facaded")
    containers.output("wait", "facaded")
    containers.output("start", "facaded")  # with the state of the one before, and the same process number
    containers.wait_until_healthy()
    containers.output("stop", "--time=15", "facaded")
    assert containers.output("inspect", "--format={{.State.ExitCode}}", "facaded") == "0"


def test_the_image_has_a_health_check_and_a_volume_for_the_state(containers: Containers) -> None:
    (image,) = json.loads(containers.output("image", "inspect", "facaded"))
    assert image["Config"]["User"] == "65532:65532"
    assert "/livez" in containers.output("image", "inspect", "--format={{json .HealthCheck.Test}}", "facaded")
    assert "/var/lib/facaded" in image["Config"]["Volumes"]


def test_the_compose_file_runs_that_image_without_privileges() -> None:
    (service,) = yaml.safe_load((ROOT / "conf" / "compose.yaml").read_text())["services"].values()
    assert (ROOT / "conf" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "65532:65532")
    assert {volume.split(":")[1] for volume in service["volumes"]} == {"/etc/facaded/facaded.toml", "/var/lib/facaded"}
