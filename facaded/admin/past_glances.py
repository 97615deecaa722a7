"""What the status page shows of the history: read in its thread, seldom, and never waited for long."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from attrs import field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from facaded.admin.recent_changes import SHOWN_CHANGES
from facaded.history.past import DAY, HistoryError, PastChange
from facaded.history.queries import PastCondition, PullTotals, read_changes, read_conditions, read_most_pulled

T = TypeVar("T")

FRESH = 15.0
"""Seconds after which the history is read again, if anybody looks."""

RETRY = 3.0
"""Seconds after which it is read again if it could not be: it begins a few seconds after the daemon."""

USABLE = 120.0
"""Seconds for which what was read is shown, although a newer reading has not ended."""

PATIENCE = 0.5
"""Seconds that a page waits for the history if it has nothing to show of it."""

READING_TIME = 2.0
"""Seconds after which SQLite gives up a query: what is written waits for it."""

STEPS = 100_000
"""Steps of SQLite between two looks at the clock: some milliseconds."""

PULL_DAYS = 7
"""Days whose pulls are shown, today included."""

SHOWN_IMAGES = 10

STALLED = "the history does not answer, because its disk is slow"


@frozen
class PastGlance:
    """What was read of the history, or why there is nothing, as a sentence."""

    problem: str = ""
    changes: tuple[PastChange, ...] = ()
    conditions: Mapping[str, tuple[PastCondition, ...]] = field(factory=dict)
    pulls: PullTotals | None = None


class ReadsHistory(Protocol):
    """The history."""

    def read(self, query: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Return what a query reads. Fails with HistoryError."""


class PastGlances:
    """Reads `history` for the page. `wall` returns seconds since the epoch."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, wall: Callable[[], float], history: ReadsHistory) -> None:
        self._clock = clock
        self._wall = wall
        self._history = history
        self._glance: PastGlance | None = None
        self._read_at = 0.0
        self._is_reading = False
        self._waiters: list[Deferred[None]] = []

    async def look(self) -> PastGlance:
        """Return what was read last, and begin to read again if that is some time ago."""
        is_good = self._glance is not None and not self._glance.problem
        if not self._is_reading and not self._is_younger(FRESH if is_good else RETRY):
            self._is_reading = True
            now = self._wall()
            self._history.read(lambda connection: _read_all(connection, now)).addCallbacks(self._end, self._fail)
        if self._is_reading and not self._is_younger(USABLE):
            await self._wait()
        return self._glance if self._glance is not None and self._is_younger(USABLE) else PastGlance(STALLED)

    def _is_younger(self, seconds: float) -> bool:
        return self._glance is not None and self._clock.seconds() - self._read_at < seconds

    async def _wait(self) -> None:
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        waiter.addTimeout(PATIENCE, self._clock).addErrback(lambda failure: failure.trap(TimeoutError))
        await waiter
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _end(self, glance: PastGlance) -> None:
        self._glance, self._read_at, self._is_reading = glance, self._clock.seconds(), False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _fail(self, failure: Failure) -> None:
        if not failure.check(HistoryError):
            self._log.failure("the history could not be read", failure)
            self._end(PastGlance("the history could not be read: see the log"))
            return
        self._end(PastGlance(failure.getErrorMessage()))


def _read_all(connection: sqlite3.Connection, now: float) -> PastGlance:
    """Read all that the page shows. Raises sqlite3.Error, also if that takes too long."""
    deadline = time.monotonic() + READING_TIME
    connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    try:
        return PastGlance(
            "",
            read_changes(connection, 0.0, SHOWN_CHANGES),
            read_conditions(connection, now - DAY),
            read_most_pulled(connection, int(now // DAY) - PULL_DAYS + 1, SHOWN_IMAGES),
        )
    finally:
        connection.set_progress_handler(None, 0)
