"""Real registries compared by the real command."""

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
from tests.system.images import INDEX, Image
from tests.system.registries import Registry

SETTINGS = """
repositories = ["org/*"]
{top}
[health]
interval = "1h"
{health}
[[backend]]
name = "main"
url = "{main}"
[[backend]]
name = "second"
url = "{second}"
rename = {{ "org/*" = "copies/*" }}
"""


@frozen
class Pair:
    """Two registries, and the images that were published on both, by their tags."""

    main: Registry
    second: Registry
    images: dict[str, Image]

    def settings(self, top: str = "", health: str = "") -> str:
        return SETTINGS.format(main=self.main.url, second=self.second.url, top=top, health=health)


@pytest.fixture(scope="module")
def pair(needs: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """`org/app` is at the second registry as `copies/app`; each tag is named for what is the matter with it there."""
    needs("docker-registry")
    directory = tmp_path_factory.mktemp("registries")
    main = Registry("main", directory / "main", ("127.2.0.2", "127.2.0.4", "127.2.0.6"))
    second = Registry("second", directory / "second", ("127.2.0.3", "127.2.0.5", "127.2.0.7"))
    tags = ("same", "signed", "partial", "alone", "other", "gone")
    images = {tag: Image.make(1000) for tag in tags}
    try:
        for registry in (main, second):
            registry.start()
        for tag, image in images.items():
            main.publish(image, "org/app", tag)
        for tag in ("same", "signed", "partial"):
            second.publish(images[tag], "copies/app", tag)
        second.publish(Image.make(1000), "copies/app", "other")
        second.publish(one_platform(images["alone"]), "copies/app", "alone")
        main.publish(Image.make(1000, ("signature",)), "org/app", images["signed"].digest.replace(":", "-"))
        lose(second, "copies/app", images["partial"].manifests[1][1])
        for registry, name in ((main, "org/well"), (second, "copies/well")):
            registry.publish(images["same"], name, "latest")
        yield Pair(main, second, images)
    finally:
        main.end()
        second.end()


def one_platform(image: Image) -> Image:
    """The first platform of an image, to be published by its tag, as docker pull, tag and push do it."""
    return evolve(image, manifests=image.manifests[:1])


def lose(registry: Registry, repository: str, digest: str) -> None:
    """Take a manifest away from under an index, which the registry would not accept without it."""
    place = f"storage/docker/registry/v2/repositories/{repository}/_manifests/revisions/{digest.replace(':', '/')}"
    (registry.directory / place / "link").unlink()


@pytest.fixture
def daemon(tmp_path: Path, pair: Pair) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, pair.settings())
    with running(daemon):
        daemon.write_settings()
        yield daemon


def found(shown: subprocess.CompletedProcess[str], backend: str = "second") -> dict[str, str]:
    """What the command says of each reference at one backend."""
    assert "Traceback" not in shown.stderr, shown.stderr
    document: dict[str, Any] = json.loads(shown.stdout)
    return {
        each["reference"]: ": ".join(filter(None, (each["backends"][backend][key] for key in ("outcome", "reason"))))
        for each in document["images"]
    }


def test_all_tags_of_a_repository_are_compared(pair: Pair, daemon: Daemon) -> None:
    signature = pair.images["signed"].digest.replace(":", "-")
    shown = daemon.run("parity", "--json", "org/app")
    assert shown.returncode == 1
    assert found(shown) == {
        "same": "same",
        "signed": "differs: lacks 1 of 1 referrer",
        "partial": "differs: lacks linux/arm64",
        "alone": "differs: only linux/amd64",
        "other": "differs: another linux/amd64, linux/arm64",
        "gone": "not there",
        signature: "not there",
    }
    assert set(found(shown, "main").values()) == {"same"}


def test_a_person_reads_a_table(pair: Pair, daemon: Daemon) -> None:
    shown = daemon.run("parity", "org/app", "org/well")
    print(shown.stdout)
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["IMAGE", "REFERENCE", "MAIN", "SECOND"]
    assert lines[-1].startswith("6 of 8 differ: org/app:")
    assert lines[-3].split()[:2] == ["org/well", "latest"], "what is the same comes last"
    assert (shown.returncode, shown.stderr) == (1, "")


def test_equal_registries_are_good_news(pair: Pair, daemon: Daemon) -> None:
    digest = pair.images["same"].digest
    for image in ("org/well", "org/app:same", f"org/app@{digest}"):
        shown = daemon.run("parity", image)
        assert (shown.returncode, shown.stderr) == (0, ""), shown.stdout
        assert shown.stdout.splitlines()[-1] == "the same at all backends"


def test_a_registry_that_is_down_is_not_one_that_differs(pair: Pair, daemon: Daemon) -> None:
    pair.second.kill()
    try:
        shown = daemon.run("parity", "org/app", "--json")
        words = daemon.run("parity", "org/app:same").stdout
    finally:
        pair.second.start()
    assert shown.returncode == 1
    assert found(shown)["same"].startswith("failing: connection refused")
    assert "FAILING: connection refused" in words
    assert words.splitlines()[-1] == "1 of 1 could not be compared: org/app:same"


def test_an_interrupted_comparison_ends_at_once(pair: Pair, daemon: Daemon) -> None:
    pair.second.suspend(True)
    command = [sys.executable, "-m", "facaded", "parity", "--config", str(daemon.config), "org/app"]
    asked = pair.main.log.count("tags/list")
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
        wait_until(lambda: pair.main.log.count("tags/list") > asked, "it asks")
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    finally:
        pair.second.suspend(False)
    assert time.monotonic() - begun < 2
    assert (process.returncode, said) == (1, "facaded: interrupted\n")


def test_without_a_daemon_the_canary_alone_is_compared(pair: Pair, daemon: Daemon) -> None:
    daemon.write_settings(pair.settings(health='canary = "org/well:latest"'))
    shown = daemon.run("parity", "--json")
    assert (shown.returncode, found(shown)) == (0, {"latest": "same"})
    (note,) = json.loads(shown.stdout)["notes"]
    assert note.startswith("no daemon is running: ")


def test_without_a_daemon_and_a_canary_an_image_must_be_named(daemon: Daemon) -> None:
    shown = daemon.run("parity")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("facaded: no image to compare: name one, as in facaded parity org/app:latest")


def test_with_a_daemon_what_was_pulled_lately_is_compared(pair: Pair, daemon: Daemon) -> None:
    daemon.start()
    nothing = daemon.run("parity")
    assert nothing.returncode == 2
    for tag, agent in (("gone", "podman/4"), ("same", "docker/28"), ("typo", "docker/28")):
        for method in ("HEAD", "GET"):
            headers = {"User-Agent": agent, "Accept": INDEX}
            daemon.get(f"/v2/org/app/manifests/{tag}", method=method, headers=headers)
    daemon.get(f"/v2/org/app/manifests/{pair.images['other'].digest}")
    daemon.get("/v2/org/app/manifests/served-and-not-there", headers={"User-Agent": "podman/4"})
    shown = daemon.run("parity", "--json")
    assert shown.returncode == 1
    assert list(found(shown).items()) == [("same", "same"), ("gone", "not there")]
    assert json.loads(shown.stdout)["notes"] == ["left out images that clients requested but no backend has"]


def test_an_image_outside_the_settings_is_a_usage_error(daemon: Daemon) -> None:
    shown = daemon.run("parity", "evil/app:1")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr == "facaded: evil/app is not in `repositories`: add it there, or compare another image\n"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ('[[backend]]\nname = "main"\nurl = "{main}"\n', "nothing to compare: main is the only backend"),
        (
            'repositories = ["org/*"]\n[[backend]]\nname = "main"\nurl = "{main}"\nauth = "client"\n',
            'nothing to compare: with auth = "client", main is the only backend',
        ),
        ("", "nothing to compare: each image comes from one backend: set `repositories`"),
    ],
)
def test_where_there_is_nothing_to_compare_it_is_said(pair: Pair, daemon: Daemon, settings: str, sentence: str) -> None:
    daemon.write_settings(settings.format(main=pair.main.url))
    shown = daemon.run("parity", "org/app")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"note: {sentence}")
