"""Two registries, and the tables of pulls and outages that are printed after the system tests."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.system.registries import DockerRegistry

OUTAGE_CLIENTS = ("docker", "ctr", "podman", "skopeo")
"""The clients that pull during outages."""

PULL_ROWS: list[tuple[str, ...]] = []
"""Rows of the table of pulls, with a cell for each of PULL_HEADINGS."""

PULL_HEADINGS = ("client", "answer", "case", "result", "backend")

OUTAGE_ROWS: list[tuple[str, ...]] = []
"""Rows of the table of outages, with a cell for each of OUTAGE_HEADINGS."""

OUTAGE_HEADINGS = (
    *("fault", "answer", "settings", "detected", "limit", *OUTAGE_CLIENTS, "late", "failback"),
    "failed step, or why none",
)

HANDOVER_ROWS: list[tuple[str, ...]] = []
"""Rows of the table of handovers, with a cell for each of HANDOVER_HEADINGS."""

HANDOVER_HEADINGS = ("change", "held request", "held for", "pull")


@pytest.fixture
def main(needs: Callable[..., None], tmp_path: Path) -> Iterator[DockerRegistry]:
    needs("docker-registry")
    yield from _running(DockerRegistry("main", tmp_path / "main", ("127.0.0.2", "127.0.0.4", "127.0.0.6")))


@pytest.fixture
def second(needs: Callable[..., None], tmp_path: Path) -> Iterator[DockerRegistry]:
    needs("docker-registry")
    yield from _running(DockerRegistry("second", tmp_path / "second", ("127.0.0.3", "127.0.0.5", "127.0.0.7")))


def _running(registry: DockerRegistry) -> Iterator[DockerRegistry]:
    try:
        yield registry.start()
    finally:
        registry.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if PULL_ROWS:
        terminalreporter.section("pulls")
        for row in [PULL_HEADINGS, *sorted(PULL_ROWS)]:
            terminalreporter.write_line("  ".join(cell.ljust(22) for cell in row))
    if OUTAGE_ROWS:
        terminalreporter.section(
            "outages: pulls failed/total; late pulls that failed; seconds from fault to detection, its end to failback"
        )
        for line in columns([OUTAGE_HEADINGS, *OUTAGE_ROWS]):
            terminalreporter.write_line(line)
    if HANDOVER_ROWS:
        terminalreporter.section("active backend changed during a docker pull")
        for line in columns([HANDOVER_HEADINGS, *HANDOVER_ROWS]):
            terminalreporter.write_line(line)


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows as lines, each column as wide as its widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
