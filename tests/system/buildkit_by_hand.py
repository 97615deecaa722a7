"""`facaded client-config buildkit`. By hand: `python -m pytest tests/system/buildkit_by_hand.py`.

It needs buildkitd and buildctl, which are in no Debian release.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon
from tests.system.clients import run_command
from tests.system.registries import DockerRegistry
from tests.system.test_client_config import Pull, check_pulls, render


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[tuple[DockerRegistry, DockerRegistry]]:
    main = DockerRegistry("main", tmp_path / "main", ("127.0.0.2", "127.0.0.4", "127.0.0.6"))
    second = DockerRegistry("second", tmp_path / "second", ("127.0.0.3", "127.0.0.5", "127.0.0.7"))
    yield main.start(), second.start()
    main.stop()
    second.stop()


@pytest.fixture
def short_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def buildkit(short_path: Path, tmp_path: Path) -> Iterator[Pull]:
    """Return a pull by BuildKit, which is a build that copies from the image, by a builder that is new each time."""
    processes: list[subprocess.Popen[bytes]] = []

    def pull(host: str, file: Path, reference: str) -> subprocess.CompletedProcess[str]:
        address = f"unix://{short_path}/{len(processes)}.sock"
        options = [f"--root={tmp_path}/buildkit-{len(processes)}", f"--addr={address}", "--config", str(file)]
        with (tmp_path / "buildkitd.log").open("ab") as log:
            daemon = [*("buildkitd", *options), "--oci-worker-snapshotter=native", "--containerd-worker=false"]
            processes.append(subprocess.Popen(daemon, stdout=log, stderr=log))
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY --from={host}/{reference} /app /app\n")
        context = [f"--local=context={tmp_path}/empty", f"--local=dockerfile={tmp_path}"]
        (tmp_path / "empty").mkdir(exist_ok=True)
        build = ["build", "--frontend=dockerfile.v0", *context, f"--output=type=local,dest={tmp_path}/built"]
        result = run_command("buildctl", "--addr", address, "--wait", *build, time_limit=60)
        processes[-1].terminate()
        return result

    yield pull
    for process in processes:
        process.kill()
        process.wait()


def test_buildkit_asks_the_backends_when_the_facade_is_gone(
    buildkit: Pull, tmp_path: Path, registries: tuple[DockerRegistry, DockerRegistry]
) -> None:
    daemon = Daemon(tmp_path, render(*registries, '{ "**" = "mirror/**" }'))
    check_pulls("buildkit", buildkit, daemon, registries, "mirror/org/app")
