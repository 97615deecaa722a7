"""Figures of several servers in several rounds, their ratios to those of one of them, and tables of both."""

from collections.abc import Sequence
from statistics import median

from attrs import define, field, frozen

WIDTH = 80
"""Characters of a line at most."""

BUSY = 0.9
"""The part of its core above which the load may be what limits a figure."""


@frozen
class Ratio:
    """How a server compares with another one: the median of the rounds, the least, and the most."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{shorten(self.median)} ({shorten(self.least)}-{shorten(self.most)})"


def compare_rounds(figures: Sequence[float], others: Sequence[float]) -> Ratio | None:
    """Compare what was measured in the same rounds; None if nothing was, or the other one's figure is 0."""
    ratios = [figure / other for figure, other in zip(figures, others, strict=False) if other]
    return Ratio(median(ratios), min(ratios), max(ratios)) if ratios else None


def shorten(number: float) -> str:
    """Return a number with three digits, or as many as it has before the point."""
    if abs(number) >= 99.95:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 9.995 else f"{number:.2f}"


@define
class Results:
    """The figures of each row and server, one for each round. `reference` is the server that others are compared with.

    `busy` is, for each row and server, the largest part of its core that the load used.
    """

    reference: str
    rows: dict[str, dict[str, list[float]]] = field(factory=dict)
    busy: dict[str, dict[str, float]] = field(factory=dict)

    def add(self, row: str, server: str, figure: float, busy: float = 0.0) -> None:
        """Add a figure of the next round."""
        self.rows.setdefault(row, {}).setdefault(server, []).append(figure)
        largest = self.busy.setdefault(row, {})
        largest[server] = max(busy, largest.get(server, 0.0))

    def ratios(self) -> list[list[str]]:
        """Return the cells of a table: for each row, the ratio of each server to the reference."""
        servers = [server for server in self._servers() if server != self.reference]
        rows = [[f"ratio to {self.reference}", *servers]]
        for row, figures in self.rows.items():
            ratios = [compare_rounds(figures.get(server, ()), figures[self.reference]) for server in servers]
            rows.append([row, *(str(ratio or "-") for ratio in ratios)])
        return rows

    def medians(self) -> list[list[str]]:
        """Return the cells of a table: for each row, the median of each server."""
        servers = self._servers()
        rows = [["median", *servers]]
        for row, figures in self.rows.items():
            rows.append([row, *(shorten(median(figures[server])) if server in figures else "-" for server in servers)])
        return rows

    def limits(self) -> list[str]:
        """Return a sentence for each server that the load may have limited, because it had no time to spare."""
        limited: dict[str, list[str]] = {}
        for row, servers in self.busy.items():
            for server, share in servers.items():
                if share > BUSY:
                    limited.setdefault(server, []).append(f"{row} ({share * 100:.0f} %)")
        return [
            f"The load used nearly all of its core with {name}: {'; '.join(rows)}" for name, rows in limited.items()
        ]

    def _servers(self) -> list[str]:
        return list(dict.fromkeys(server for figures in self.rows.values() for server in figures))


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: its first column is aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))
    return lines


def to_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    first, *others = (f"| {' | '.join(row)} |" for row in rows)
    return [first, "|---" * len(rows[0]) + "|", *others]
