"""What the system tests print when all have run: tables of pulls and of outages."""

from collections.abc import Sequence

import pytest

OUTAGE_CLIENTS = ("docker", "ctr", "podman", "skopeo")
"""The clients that pull through outages."""

TABLE: list[tuple[str, ...]] = []
"""Rows that are printed when all tests have run: client, answer, routing, seconds, backend."""

OUTAGES: list[tuple[str, ...]] = []
"""Rows of a second table, in their order: what each outage cost. They have a cell for each of OUTAGE_HEADINGS."""

OUTAGE_HEADINGS = ("fault", "answer", "noticed", "bound", *OUTAGE_CLIENTS, "back", "by which step, or why not")

HANDOVERS: list[tuple[str, ...]] = []
"""Rows of a third: which change met a pull of Docker's, where it was held, and for how long."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("pulls")
        for row in sorted(TABLE):
            terminalreporter.write_line("  ".join(cell.ljust(22) for cell in row))
    if OUTAGES:
        terminalreporter.section("outages: pulls lost of all, and seconds after the fault and its end")
        for line in columns([OUTAGE_HEADINGS, *OUTAGES]):
            terminalreporter.write_line(line)
    if HANDOVERS:
        terminalreporter.section("changes of the active backend during a pull of Docker's")
        for line in columns([("change", "held at", "for", "pull"), *HANDOVERS]):
            terminalreporter.write_line(line)


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
