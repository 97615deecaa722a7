"""`facaded parity` compares real registries."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen

from tests.process.daemon import Daemon, running, wait_until
from tests.several_processes import workers_of_tests
from tests.system.images import INDEX, RandomImage
from tests.system.registries import DockerRegistry

SETTINGS = """
repositories = ["org/*"]
{top_options}
[health]
interval = "1h"
{health_options}
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {{ "org/*" = "copies/*" }}
"""


@frozen
class RegistryPair:
    """Two registries, and the images of org/app in the main one, by their tags."""

    main: DockerRegistry
    second: DockerRegistry
    images: dict[str, RandomImage]

    def settings(self, top_options: str = "", health_options: str = "") -> str:
        return SETTINGS.format(
            main=self.main.url, second=self.second.url, top_options=top_options, health_options=health_options
        )


@pytest.fixture(scope="module")
def pair(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryPair]:
    """Two registries: the second has `org/app` as `copies/app`, and each tag says how its image differs there."""
    needs("docker-registry")
    directory = tmp_path_factory.mktemp("registries")
    main = DockerRegistry("main", directory / "main", ("127.2.0.2", "127.2.0.4", "127.2.0.6"))
    second = DockerRegistry("second", directory / "second", ("127.2.0.3", "127.2.0.5", "127.2.0.7"))
    tags = ("same", "signed", "partial", "alone", "other", "gone")
    images = {tag: RandomImage.create(1000) for tag in tags}
    try:
        for registry in (main, second):
            registry.start()
        for tag, image in images.items():
            main.publish(image, "org/app", tag)
        for tag in ("same", "signed", "partial"):
            second.publish(images[tag], "copies/app", tag)
        second.publish(RandomImage.create(1000), "copies/app", "other")
        second.publish(first_platform(images["alone"]), "copies/app", "alone")
        main.publish(RandomImage.create(1000, ("signature",)), "org/app", images["signed"].digest.replace(":", "-"))
        delete_manifest(second, "copies/app", images["partial"].manifests[1][1])
        for registry, repository in ((main, "org/well"), (second, "copies/well")):
            registry.publish(images["same"], repository, "latest")
        yield RegistryPair(main, second, images)
    finally:
        main.stop()
        second.stop()


def first_platform(image: RandomImage) -> RandomImage:
    """Return only the first platform of an image, which is what docker pull, tag and push publish."""
    return evolve(image, manifests=image.manifests[:1])


def delete_manifest(registry: DockerRegistry, repository: str, digest: str) -> None:
    """Delete a manifest from the registry's storage, because the registry accepts no index without its manifests."""
    revision_directory = (
        f"storage/docker/registry/v2/repositories/{repository}/_manifests/revisions/{digest.replace(':', '/')}"
    )
    (registry.directory / revision_directory / "link").unlink()


@pytest.fixture
def daemon(tmp_path: Path, pair: RegistryPair) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, pair.settings())
    with running(daemon):
        daemon.write_settings()
        yield daemon


def outcomes(result: subprocess.CompletedProcess[str], backend: str = "second") -> dict[str, str]:
    """Return the outcome, and the reason if there is one, for each reference at one backend."""
    assert "Traceback" not in result.stderr, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return {
        row["reference"]: ": ".join(filter(None, (row["backends"][backend][key] for key in ("outcome", "reason"))))
        for row in document["images"]
    }


def test_all_tags_of_a_repository_are_compared(pair: RegistryPair, daemon: Daemon) -> None:
    signature = pair.images["signed"].digest.replace(":", "-")
    result = daemon.run("parity", "--json", "org/app")
    assert result.returncode == 1
    assert outcomes(result) == {
        "same": "same",
        "signed": "differs: lacks 1 of 1 referrer",
        "partial": "differs: lacks linux/arm64",
        "alone": "differs: only linux/amd64",
        "other": "differs: another linux/amd64, linux/arm64",
        "gone": "not there",
        signature: "not there",
    }
    assert set(outcomes(result, "main").values()) == {"same"}


def test_the_command_prints_a_table(pair: RegistryPair, daemon: Daemon) -> None:
    result = daemon.run("parity", "org/app", "org/well")
    print(result.stdout)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["IMAGE", "REFERENCE", "MAIN", "SECOND"]
    assert lines[-1].startswith("6 of 8 differ: org/app:")
    assert lines[-3].split()[:2] == ["org/well", "latest"], "images that do not differ come last"
    assert (result.returncode, result.stderr) == (1, "")


def test_equal_registries_exit_with_0(pair: RegistryPair, daemon: Daemon) -> None:
    digest = pair.images["same"].digest
    for image in ("org/well", "org/app:same", f"org/app@{digest}"):
        result = daemon.run("parity", image)
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        assert result.stdout.splitlines()[-1] == "the same at all backends"


def test_a_registry_that_is_down_is_reported_as_failing_and_not_as_different(
    pair: RegistryPair, daemon: Daemon
) -> None:
    pair.second.kill()
    try:
        result = daemon.run("parity", "org/app", "--json")
        table = daemon.run("parity", "org/app:same").stdout
    finally:
        pair.second.start()
    assert result.returncode == 1
    assert outcomes(result)["same"].startswith("failing: connection refused")
    assert "FAILING: connection refused" in table
    assert table.splitlines()[-1] == "1 of 1 could not be compared: org/app:same"


def test_an_interrupted_comparison_ends_at_once(pair: RegistryPair, daemon: Daemon) -> None:
    pair.second.suspend(True)
    command = [sys.executable, "-m", "facaded", "parity", "--config", str(daemon.config), "org/app"]
    listings = pair.main.log.count("tags/list")
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: pair.main.log.count("tags/list") > listings, "a request for the tags")
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
    finally:
        pair.second.suspend(False)
    assert time.monotonic() - started < 2
    assert (process.returncode, stderr) == (1, "facaded: interrupted\n")


def test_without_a_daemon_only_the_canary_is_compared(pair: RegistryPair, daemon: Daemon) -> None:
    daemon.write_settings(pair.settings(health_options='canary = "org/well:latest"'))
    result = daemon.run("parity", "--json")
    assert (result.returncode, outcomes(result)) == (0, {"latest": "same"})
    (note,) = json.loads(result.stdout)["notes"]
    assert note.startswith("recent pulls are unknown: not running: ")


def test_without_a_daemon_and_a_canary_an_image_must_be_named(daemon: Daemon) -> None:
    result = daemon.run("parity")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("facaded: no image to compare: name one, as in facaded parity org/app:latest")


def test_with_a_daemon_recently_pulled_images_are_compared(pair: RegistryPair, daemon: Daemon) -> None:
    daemon.start()
    empty_result = daemon.run("parity")
    assert empty_result.returncode == 2
    for method in ("HEAD", "GET"):
        daemon.get("/v2/org/app/manifests/gone", method=method, headers={"User-Agent": "podman/4", "Accept": INDEX})
    for tag in ("same", "typo"):  # after its HEAD, Docker asks for the digest
        daemon.get(f"/v2/org/app/manifests/{tag}", method="HEAD", headers={"User-Agent": "docker/28", "Accept": INDEX})
    daemon.get(f"/v2/org/app/manifests/{pair.images['other'].digest}")
    daemon.get("/v2/org/app/manifests/served-and-not-there", headers={"User-Agent": "podman/4"})
    result = daemon.run("parity", "--json")
    assert result.returncode == 1
    latest_first = [("same", "same"), ("gone", "not there")]  # with several processes, at the times of their reports
    assert sorted(outcomes(result).items(), key=latest_first.index) == latest_first
    assert workers_of_tests() > 1 or list(outcomes(result).items()) == latest_first
    assert json.loads(result.stdout)["notes"] == ["left out images that clients requested but no backend has"]


def test_an_image_outside_the_settings_is_a_usage_error(daemon: Daemon) -> None:
    result = daemon.run("parity", "evil/app:1")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "facaded: evil/app is not in `repositories`: add it there, or compare another image\n"


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ('[[backend]]\nname = "main"\nurl = "{main}"\n', "nothing to compare: main is the only backend"),
        (
            'repositories = ["org/*"]\n[[backend]]\nname = "main"\nurl = "{main}"\nauth = "client"\n',
            'nothing to compare: with auth = "client", main is the only backend',
        ),
        ("", "nothing to compare: each image comes from one backend: set `repositories`"),
    ],
)
def test_a_note_says_why_there_is_nothing_to_compare(
    pair: RegistryPair, daemon: Daemon, settings: str, note: str
) -> None:
    daemon.write_settings(settings.format(main=pair.main.url))
    result = daemon.run("parity", "org/app")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"note: {note}")
