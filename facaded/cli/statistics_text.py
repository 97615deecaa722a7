"""The numbers of pulls as text for a terminal: tables of images or tags, of clients, and of days."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from facaded.admin.history_commands import PullStatistics
from facaded.history.queries import PullSum
from facaded.net.text import printable

WIDTH = 80
"""Columns of a terminal. A name that is too long for its column has a line of its own."""

NAME_WIDTH = 43

NAME_LENGTH = 400
"""Characters of a name that are shown: more than any repository or digest has."""

ROWS = 20
"""Rows of a table. JSON has more."""

HEADS = ("PULLS", "CHECKS", "SIGNATURES")


def text(statistics: PullStatistics) -> str:
    """Return what was pulled, how often, by which clients and when."""
    period = "today" if statistics.days == 1 else f"in the last {statistics.days} days"
    total, image = statistics.total, f" of {printable(statistics.image, NAME_LENGTH)}" if statistics.image else ""
    sentence = (
        f"{total.pulls:,} pulls{image} {period} (since {printable(statistics.first)}, UTC), {total.checks:,} checks "
        f"for updates, {total.signatures:,} reads of signatures"
    )
    tables = (
        ("IMAGE", statistics.images, "(other names)"),
        ("TAG OR DIGEST", statistics.tags, "(signatures)"),
        ("CLIENT", statistics.families, "?"),
        ("DAY", statistics.by_day[-ROWS:], "?"),
    )
    sections = [wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)]
    sections += [list(_table(head, sums, unnamed)) for head, sums, unnamed in tables if sums]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _table(head: str, sums: Sequence[PullSum], unnamed: str) -> Iterator[str]:
    names = [printable(row.name, NAME_LENGTH) or unnamed for row in sums[:ROWS]]
    width = max((len(name) for name in (head, *names) if len(name) <= NAME_WIDTH), default=0)
    yield _row(head, width, HEADS)
    for name, row in zip(names, sums, strict=False):
        if len(name) > width:
            yield name
            name = ""
        yield _row(name, width, [f"{number:,}" for number in (row.pulls, row.checks, row.signatures)])
    if len(sums) > ROWS:
        yield f"and {len(sums) - ROWS} more: see --json"


def _row(name: str, width: int, cells: Sequence[str]) -> str:
    return "  ".join([name.ljust(width), *(cell.rjust(10) for cell in cells)])
