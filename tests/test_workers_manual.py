"""The manual's page about workers: it has every limit, and what it names exists."""

import re
from pathlib import Path

import pytest

from facaded.config.cores import MOST_WORKERS
from facaded.config.limits_schema import LIMITS
from facaded.config.schema import SETTINGS
from tests.test_security_manual import keys

ROOT = Path(__file__).parent.parent

PAGE = (ROOT / "facaded" / "manual" / "workers.md").read_text()

LIMIT_ROWS = PAGE.partition("## Limits")[2].partition("\n## ")[0]

UNIT_LINES = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)[0].splitlines()


@pytest.mark.parametrize("name", LIMITS.names)
def test_the_table_of_limits_has_every_limit(name: str) -> None:
    assert re.search(rf"^\| .*`limits\.{name}`", LIMIT_ROWS, re.MULTILINE)


def test_the_settings_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", PAGE)) - {"workers.sock", "control.sock"}
    assert {"cache.manifests", "health.trust", "listen.http"} <= named
    assert named <= {*keys(SETTINGS)}


@pytest.mark.parametrize("line", UNIT_LINES)
def test_the_lines_for_another_unit_are_those_of_facaded_s(line: str) -> None:
    assert line in (ROOT / "systemd" / "facaded.service").read_text().splitlines()


def test_the_most_processes_are_those_that_the_settings_page_names() -> None:
    (workers,) = [key for key in SETTINGS.keys if key.name == "workers"]
    assert f"up to {MOST_WORKERS}" in workers.purpose


@pytest.mark.parametrize("anchor", re.findall(r"\(#([a-z-]+)\)", PAGE))
def test_a_link_within_the_page_has_its_heading(anchor: str) -> None:
    headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)]
    assert anchor in headings


@pytest.mark.parametrize("file", re.findall(r"\(([a-z]+\.md)\)", PAGE))
def test_a_linked_page_exists(file: str) -> None:
    assert (ROOT / "facaded" / "manual" / file).exists()
