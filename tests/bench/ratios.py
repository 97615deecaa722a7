"""Figures of several servers in several rounds, their ratios to those of one of them, and tables of both."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from attrs import define, field, frozen

WIDTH = 80
"""Characters of a line at most."""

Figures = Mapping[str, Sequence[float]]
"""The figures of each server, one for each round, in the order of the rounds."""


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
    """Figures by row, server and round, and the ratio tables of all rows. `reference` is the server of ratio 1."""

    reference: str
    rows: dict[str, dict[str, list[float]]] = field(factory=dict)

    def add(self, row: str, server: str, figure: float) -> None:
        self.rows.setdefault(row, {}).setdefault(server, []).append(figure)

    def ratios(self) -> list[str]:
        """Return the lines of a table: for each row, each server's ratio to the reference."""
        servers = self._servers(without=self.reference)
        return table(
            [f"ratio to {self.reference}, median (range)", *servers],
            (
                [row, *(str(compare_rounds(figures.get(server, ()), figures.get(self.reference, ())) or "-") for server in servers)]
                for row, figures in self.rows.items()
                if self.reference in figures
            ),
        )

    def medians(self) -> list[str]:
        """Return the lines of a table: for each row, each server's median."""
        servers = self._servers()
        return table(
            ["median", *servers],
            (
                [row, *(shorten(median(figures[server])) if server in figures else "-" for server in servers)]
                for row, figures in self.rows.items()
            ),
        )

    def _servers(self, without: str = "") -> list[str]:
        names = dict.fromkeys(server for figures in self.rows.values() for server in figures)
        return [name for name in names if name != without]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return lines with the first column aligned to the left, and the others to the right."""
    cells = [headings, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return [_line(row, widths) for row in cells]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
