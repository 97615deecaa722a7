"""The report of a comparison as text for a person: a table, notes and a summary."""

import re
import textwrap
from collections.abc import Sequence

from facaded.net.text import printable
from facaded.oci.requests import is_digest
from facaded.parity.findings import ALL_TAGS, Finding, Report, Row, Side

COLUMNS = ("IMAGE", "REFERENCE")

NARROWEST = 12
"""The least width of a column, in characters: a narrower one is unreadable, so the terminal has to wrap."""

DIGEST_DIGITS = 12
"""How many hexadecimal digits of a digest are shown: as many as Docker shows."""

NAMED = 3
"""The most images that a line of the summary names."""

_DIGEST = re.compile(rf"((?:sha256|sha512)[:-][0-9a-f]{{{DIGEST_DIGITS}}})[0-9a-f]+")

_ORDER = (Finding.DIFFERS, Finding.NOT_THERE, Finding.FAILING, Finding.NOT_ASKED, Finding.SAME)
"""The order of the rows: what needs attention first."""

_SUMMARY = {
    Finding.DIFFERS: "{count} of {all} {differ}: {names}",
    Finding.NOT_THERE: "{count} of {all} not found at any backend: {names}",
    Finding.FAILING: "{count} of {all} could not be compared: {names}",
    Finding.NOT_ASKED: "{count} of {all} possible at only one backend: {names}",
}


def table(report: Report, width: int | None) -> str:
    """Return the report as text: a table of the images with differences first, then notes and a summary.

    `width` is that of the terminal, in characters. If it is None, no line is wrapped.
    """
    rows = sorted(report.rows, key=_sort_key)
    cells = [(*COLUMNS, *(name.upper() for name in report.backends)), *(_cells(row, report.backends) for row in rows)]
    lines = _lines(cells, _widths(cells, width)) if rows else []
    notes = [f"note: {printable(note)}" for note in report.notes]
    sentences = [_wrap(sentence, width) for sentence in (*notes, *_summary(report))]
    return "\n".join([*lines, *([""] if lines else []), *sentences])


def _sort_key(row: Row) -> tuple[object, ...]:
    """Sort differences first, then by name; 1.9 before 1.10."""
    parts = re.split(r"(\d{1,15})", row.reference)
    natural = [(index % 2, int(part) if index % 2 else 0, part) for index, part in enumerate(parts)]
    return _ORDER.index(row.verdict), row.name, natural


def _cells(row: Row, backends: Sequence[str]) -> tuple[str, ...]:
    return row.name, _shorten(row.reference), *(_cell(row.sides.get(backend)) for backend in backends)


def _cell(side: Side | None) -> str:
    if side is None:
        return "-"
    reason = printable(side.reason)
    match side.finding:
        case Finding.SAME:
            return _shorten(side.digest) if side.digest else reason
        case Finding.NOT_THERE:
            return f"NOT THERE ({reason})" if reason else "NOT THERE"
        case Finding.DIFFERS:
            return f"{_shorten(side.digest)} DIFFERS: {reason}"
        case Finding.FAILING:
            return f"FAILING: {reason}"
        case Finding.NOT_ASKED:
            return f"not asked: {reason}"


def _shorten(reference: str) -> str:
    """Shorten a digest, also one inside a tag: that of referrers, or of a cosign signature."""
    return _DIGEST.sub(r"\1", reference)


def _widths(cells: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """Return the widths of the columns: those of the longest cells, with the widest ones reduced until all fit."""
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


def _wrap(sentence: str, width: int | None) -> str:
    return sentence if width is None else textwrap.fill(sentence, width, break_long_words=False)


def _summary(report: Report) -> list[str]:
    """Return the sentences that sum up all rows."""
    total = len(report.rows)
    same = report.with_verdict(Finding.SAME)
    sentences = []
    if same and not report.is_bad_news:
        partly = any(side.finding is Finding.NOT_ASKED for row in same for side in row.sides.values())
        sentence = f"the same at all backends{' that were asked' if partly else ''}"
        sentences.append(f"{len(same)} compared: {sentence}" if len(same) > 1 else sentence)
    for verdict, template in _SUMMARY.items():
        rows = sorted(report.with_verdict(verdict), key=_sort_key)
        names = [_image(row) for row in rows[:NAMED]] + ([f"{len(rows) - NAMED} more"] if len(rows) > NAMED else [])
        differ = "differs" if len(rows) == 1 else "differ"
        if rows:
            sentences.append(template.format(count=len(rows), all=total, names=", ".join(names), differ=differ))
    return sentences


def _image(row: Row) -> str:
    if is_digest(row.reference):
        return f"{row.name}@{_shorten(row.reference)}"
    return f"{row.name} {row.reference}" if row.reference == ALL_TAGS else f"{row.name}:{_shorten(row.reference)}"
