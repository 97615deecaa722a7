"""The last changes, in memory: they are shown at once, and without a history too."""

from collections import deque
from collections.abc import Callable, Sequence

from facaded import __version__
from facaded.history.past import STARTED, PastChange
from facaded.policy.changes import Change

SHOWN_CHANGES = 20
"""How many changes are shown."""


class RecentChanges:
    """The last changes since the start, which is one of them. `wall` returns seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self.began_at = wall()
        started = PastChange.of_daemon(STARTED, f"facaded {__version__} started", self.began_at)
        self._changes = deque([started], maxlen=SHOWN_CHANGES)

    def follow(self, change: Change) -> None:
        """Note a change; it is a subscriber of the watch."""
        now = self._wall()
        self._changes.extend(PastChange.of(event, now) for event in change.events)

    def last(self, earlier: Sequence[PastChange]) -> tuple[PastChange, ...]:
        """Return the last changes, the latest first. `earlier` are those of the history, in the same order."""
        before = (change for change in earlier if change.at < self.began_at)
        return (*reversed(self._changes), *before)[:SHOWN_CHANGES]
