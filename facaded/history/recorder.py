"""The recorder: collects what the history is made of, and has it written in a thread, every few seconds."""

import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from facaded import __version__
from facaded.history.database_thread import BusyThreadError, DatabaseThread
from facaded.history.history_store import HistoryStore
from facaded.history.past import (
    MINUTE,
    STARTED,
    STOPPED,
    HistoryBatch,
    HistoryError,
    HistoryPlace,
    MinuteCount,
    PastChange,
    RequestTotals,
)
from facaded.net.reactor import IThreadedReactor
from facaded.policy.changes import Change
from facaded.policy.pull_counts import PullCounts

T = TypeVar("T")

INTERVAL = 10.0
"""Seconds between two writes: a write of a few rows takes a millisecond, and a crash loses little."""

PULLS_AT_ONCE = 500
"""Most rows of pulls in one write, which keeps a transaction small. What is more waits for the next one."""

LAST_WRITES = 5
"""Writes at the stop: as many as the pulls that can wait need."""

MOST_CHANGES_WAITING = 1000
"""Most changes that wait for a write. The oldest are dropped first."""

STOP_TIME = 5.0
"""Seconds that a stop waits for the last write."""

OFF = "the history is off: set history.days above 0, then reload"

STUCK = "the history does not answer, because its disk is slow: try again later"


class CountsRequests(Protocol):
    """Counts answered requests."""

    def totals(self) -> RequestTotals:
        """Return how many were answered so far, by answer and family."""


@frozen
class RecordedParts:
    """What is recorded: pulls and requests. `flush` passes on the answered requests that wait to be counted."""

    pulls: PullCounts
    requests: CountsRequests
    flush: Callable[[], None] = field(default=lambda: None)


class Recorder(Service):
    """Records the history at `place` while it runs. Its file is used by one thread, which no answer waits for.

    `wall` returns seconds since the epoch. An error stops the history alone, and is logged once.
    """

    _log = Logger()

    def __init__(
        self, reactor: IThreadedReactor, wall: Callable[[], float], parts: RecordedParts, place: HistoryPlace
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._parts = parts
        self._place = place
        self._thread = DatabaseThread(reactor)
        self._store = HistoryStore(place)
        self._changes: deque[PastChange] = deque(maxlen=MOST_CHANGES_WAITING)
        self._totals: RequestTotals = {}
        self._minute = 0
        self._is_writing = False
        self._timer = LoopingCall(self._record)
        self._timer.clock = reactor

    def startService(self) -> None:
        """Open the file: what was before is there soon."""
        Service.startService(self)
        self._minute = int(self._wall() // MINUTE)
        self._thread.start()
        self._note(STARTED, f"facaded {__version__} started")
        self._timer.start(INTERVAL)

    def stopService(self) -> Deferred[None]:
        """Write what is left, and close the file."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._end())

    def follow(self, change: Change) -> None:
        """Record a change of the backends; it is a subscriber of the watch."""
        if not self._place.days:
            return
        now = self._wall()
        self._changes.extend(PastChange.of(event, now) for event in change.events)

    def reconfigure(self, place: HistoryPlace) -> None:
        """Record at another place or within other bounds from now on. A history that has stopped is tried again."""
        if place.days and not self._place.days:
            self._totals = self._parts.requests.totals()
        self._place = place
        self._thread.run(partial(self._store.move, place)).addErrback(self._note_failure)

    def read(self, query: Callable[[sqlite3.Connection], T]) -> Deferred[T]:
        """Return what a query reads (see `queries`). Fails with HistoryError."""
        if not self._place.days:
            failed: Deferred[T] = Deferred()
            failed.errback(HistoryError(OFF))
            return failed
        result = self._thread.run(partial(self._store.read, query))
        result.addErrback(_explain_busy)
        return result

    def _record(self) -> None:
        """Write what has been collected; while the disk is slow, it waits in bounded memory."""
        if self._is_writing:
            return
        batch = self._collect(self._take_minute(int(self._wall() // MINUTE)))
        if batch.is_empty or not self._place.days:
            return
        self._is_writing = True
        self._write(batch)

    def _write(self, batch: HistoryBatch) -> Deferred[None]:
        written = self._thread.run(partial(self._store.write, batch))
        return written.addCallbacks(self._note_written, self._note_failure)

    def _collect(self, requests: tuple[MinuteCount, ...]) -> HistoryBatch:
        now = self._wall()
        changes = tuple(self._changes)
        self._changes.clear()
        return HistoryBatch(now, changes, requests, tuple(self._parts.pulls.take(now, PULLS_AT_ONCE)))

    def _take_minute(self, minute: int) -> tuple[MinuteCount, ...]:
        """Return the requests of the minute that has ended; none before its end."""
        if minute == self._minute:
            return ()
        previous, ended = self._totals, self._minute
        self._totals, self._minute = self._parts.requests.totals(), minute
        counts = {key: total - previous.get(key, 0) for key, total in self._totals.items()}
        return tuple(
            MinuteCount(ended, answer.word, family.value, count)
            for (answer, family), count in counts.items()
            if count > 0  # fewer if a reload has removed a backend
        )

    def _note_written(self, notice: str) -> None:
        self._is_writing = False
        if notice:
            self._log.warn("{notice}", notice=notice)

    def _note_failure(self, failure: Failure) -> None:
        self._is_writing = False
        if failure.check(HistoryError):
            self._log.warn("{problem}", problem=failure.getErrorMessage())
        elif failure.check(TimeoutError):
            self._log.warn("the history was not closed, because its disk is slow: the last seconds of it are lost")
        elif not failure.check(BusyThreadError):  # those seconds are lost
            self._log.failure("the history failed", failure)

    def _note(self, kind: str, text: str) -> None:
        self._changes.append(PastChange.of_daemon(kind, text, self._wall()))

    async def _end(self) -> None:
        self._parts.flush()
        self._parts.pulls.finish()
        if self._timer.running:
            self._timer.stop()
        self._note(STOPPED, "facaded stopped")
        last = self._collect(self._take_minute(-1))
        for _ in range(LAST_WRITES):
            if last.is_empty or not self._place.days:
                break
            self._write(last)
            last = self._collect(())
        closed = self._thread.run(self._store.close)
        self._thread.stop()
        closed.addTimeout(STOP_TIME, self._reactor).addErrback(self._note_failure)
        await closed


def _explain_busy(failure: Failure) -> Failure:
    return Failure(HistoryError(STUCK)) if failure.check(BusyThreadError) else failure
