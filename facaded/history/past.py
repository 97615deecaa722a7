"""What the history is made of: changes, requests of a minute, and pulls of a day."""

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from facaded.net.text import printable
from facaded.oci.clients import Family
from facaded.policy.events import Event, Severity
from facaded.policy.pull_kinds import PullKey
from facaded.web.answered_requests import Outcome

TEXT_LENGTH = 1000
"""Characters of the text of a change: a sentence about each of several backends."""

MINUTE, DAY = 60, 86_400
"""Seconds."""

STARTED, STOPPED = "started", "stopped"
"""Kinds of changes beside those of `EventKind`: a gap in the history has a reason."""


def _clean(text: str) -> str:
    return printable(text, TEXT_LENGTH)


@frozen
class PastChange:
    """Something that has happened `at` a time in seconds since the epoch.

    `kind` is a value of `EventKind`, "started" or "stopped"; `severity` the name of a `Severity` in lower case;
    `backend` may be empty. `text` says what has happened and why.
    """

    at: float
    kind: str
    severity: str
    backend: str
    text: str = field(converter=_clean)

    @classmethod
    def of(cls, event: Event, at: float) -> "PastChange":
        """Return an event as a change."""
        return cls(at, event.kind.value, event.severity.name.lower(), event.backend, event.text)

    @classmethod
    def of_daemon(cls, kind: str, text: str, at: float) -> "PastChange":
        """Return the start or the stop of the daemon."""
        return cls(at, kind, Severity.INFO.name.lower(), "", text)


@frozen
class MinuteCount:
    """Requests that were answered in a minute, which is counted from the epoch, UTC.

    `answer` is the word of an `Outcome`, `family` the value of a `Family`.
    """

    minute: int
    answer: str
    family: str
    count: int


RequestTotals = Mapping[tuple[Outcome, Family], int]
"""How many requests were answered since the start, by answer and family."""


@frozen
class HistoryBatch:
    """What is written at once. `at` is the present time in seconds since the epoch, whose day the pulls count for."""

    at: float
    changes: tuple[PastChange, ...] = ()
    requests: tuple[MinuteCount, ...] = ()
    pulls: tuple[tuple[PullKey, int], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.changes or self.requests or self.pulls)


@frozen
class HistoryPlace:
    """Where the history is: a directory; and its bounds: `days`, 0 for no history, and `size` in bytes."""

    directory: Path
    days: int
    size: int


class HistoryError(Exception):
    """The history cannot be written or read. The text is a sentence that says what happened and what to do."""
