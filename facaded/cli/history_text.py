"""The history as text for a terminal: a line for each change, with its time in UTC, the latest last."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from textwrap import TextWrapper

from facaded.admin.history_commands import PastChanges
from facaded.history.past import PastChange
from facaded.net.text import printable

WIDTH = 80
"""Columns of a terminal. Only a single word that is longer exceeds it."""

TEXT_LENGTH = 1000
"""Characters of a change that are shown: the document may come from a daemon of another version."""

_EPOCH = datetime.fromtimestamp(0, UTC)

_INDENT = " " * len("  00:00:00  ")


def text(changes: PastChanges) -> str:
    """Return the changes by day."""
    period = "last day" if changes.days == 1 else f"last {changes.days} days"
    if not changes.changes:
        return f"nothing has changed in the {period}"
    note = ["only the latest changes are shown: there are more", ""] if changes.omitted else []
    return "\n".join([*note, *_lines(changes.changes)])


def _lines(changes: tuple[PastChange, ...]) -> Iterator[str]:
    day = ""
    for change in reversed(changes):
        moment = _moment(change.at)
        if day != (day := moment.strftime("%Y-%m-%d")):
            yield f"{day}, UTC"
        wrapper = TextWrapper(
            WIDTH,
            initial_indent=f"  {moment:%H:%M:%S}  ",
            subsequent_indent=_INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from wrapper.wrap(printable(change.text, TEXT_LENGTH)) or [f"  {moment:%H:%M:%S}"]


def _moment(at: float) -> datetime:
    """Return a time; the epoch for one that no calendar has."""
    try:
        return _EPOCH + timedelta(seconds=at)
    except (OverflowError, ValueError):
        return _EPOCH
