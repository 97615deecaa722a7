"""How a person reads a report of a comparison: a table, notes, and a summary."""

import re
import textwrap
from collections.abc import Sequence

from facaded.net.text import printable
from facaded.oci.requests import is_digest
from facaded.parity.findings import ALL_TAGS, Finding, Report, Row, Side

COLUMNS = ("IMAGE", "REFERENCE")

NARROWEST = 12
"""Characters of the narrowest column: less than that cannot be read, and is left to the terminal to wrap."""

DIGEST_DIGITS = 12
"""Hexadecimal digits of a digest that are shown, as Docker shows them."""

NAMED = 3
"""Images that the last line names."""

_DIGEST = re.compile(rf"((?:sha256|sha512)[:-][0-9a-f]{{{DIGEST_DIGITS}}})[0-9a-f]+")

_ORDER = (Finding.DIFFERS, Finding.NOT_THERE, Finding.FAILING, Finding.NOT_ASKED, Finding.SAME)
"""Of the rows: what a reader wants first."""

_SUMMARY = {
    Finding.DIFFERS: "{count} of {all} {differ}: {names}",
    Finding.NOT_THERE: "{count} of {all} no backend has: {names}",
    Finding.FAILING: "{count} of {all} could not be compared: {names}",
    Finding.NOT_ASKED: "{count} of {all} only one backend can have: {names}",
}


def table(report: Report, width: int | None) -> str:
    """The report for a person.

    A table of the images, what differs first; then notes, and a sentence that sums it up. `width` is the terminal's in
    characters; without one no line is broken.
    """
    rows = sorted(report.rows, key=_place)
    cells = [(*COLUMNS, *(name.upper() for name in report.backends)), *(_cells(row, report.backends) for row in rows)]
    lines = _lines(cells, _widths(cells, width)) if rows else []
    notes = [f"note: {printable(note)}" for note in report.notes]
    said = [_wrapped(sentence, width) for sentence in (*notes, *_summary(report))]
    return "\n".join([*lines, *([""] if lines else []), *said])


def _place(row: Row) -> tuple[object, ...]:
    """What differs first, then by name; 1.9 stands before 1.10."""
    parts = re.split(r"(\d{1,15})", row.reference)
    natural = [(index % 2, int(part) if index % 2 else 0, part) for index, part in enumerate(parts)]
    return _ORDER.index(row.verdict), row.name, natural


def _cells(row: Row, backends: Sequence[str]) -> tuple[str, ...]:
    return row.name, _short(row.reference), *(_cell(row.sides.get(backend)) for backend in backends)


def _cell(side: Side | None) -> str:
    if side is None:
        return "-"
    said = printable(side.reason)
    match side.finding:
        case Finding.SAME:
            return _short(side.digest) if side.digest else said
        case Finding.NOT_THERE:
            return f"NOT THERE ({said})" if said else "NOT THERE"
        case Finding.DIFFERS:
            return f"{_short(side.digest)} DIFFERS: {said}"
        case Finding.FAILING:
            return f"FAILING: {said}"
        case Finding.NOT_ASKED:
            return f"not asked: {said}"


def _short(reference: str) -> str:
    """A digest cut short, also where it is part of a tag: that of its referrers, or of cosign's signature."""
    return _DIGEST.sub(r"\1", reference)


def _widths(cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """As wide as the columns' longest cells, or so much less of the widest that the whole fits."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if width is None:
        return widths
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    lines = []
    for row in cells:
        columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for number in range(max(map(len, columns))):
            parts = [column[number] if number < len(column) else "" for column in columns]
            lines.append("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
    return lines


def _wrapped(sentence: str, width: int | None) -> str:
    return sentence if width is None else textwrap.fill(sentence, width, break_long_words=False)


def _summary(report: Report) -> list[str]:
    """What to know of all rows, or nothing if there are none."""
    total = len(report.rows)
    same = report.with_verdict(Finding.SAME)
    said = []
    if same and not report.is_bad_news:
        partly = any(side.finding is Finding.NOT_ASKED for row in same for side in row.sides.values())
        sentence = f"the same at all backends{' that were asked' if partly else ''}"
        said.append(f"{len(same)} compared: {sentence}" if len(same) > 1 else sentence)
    for verdict, sentence in _SUMMARY.items():
        rows = sorted(report.with_verdict(verdict), key=_place)
        names = [_image(row) for row in rows[:NAMED]] + ([f"{len(rows) - NAMED} more"] if len(rows) > NAMED else [])
        differ = "differs" if len(rows) == 1 else "differ"
        if rows:
            said.append(sentence.format(count=len(rows), all=total, names=", ".join(names), differ=differ))
    return said


def _image(row: Row) -> str:
    if is_digest(row.reference):
        return f"{row.name}@{_short(row.reference)}"
    return f"{row.name} {row.reference}" if row.reference == ALL_TAGS else f"{row.name}:{_short(row.reference)}"
