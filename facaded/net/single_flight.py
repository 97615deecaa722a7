"""Shared work: concurrent callers with the same key share one run."""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@define
class _Work(Generic[Value]):
    running: Deferred[None] | None = None
    waiters: list[Deferred[Value]] = field(factory=list)


class SingleFlight(Generic[Key, Value]):
    """Runs work once per key at a time; callers that join a run in progress get the same result or error.

    Cancelling one caller does not affect the others; cancelling the last one cancels the work.
    """

    def __init__(self) -> None:
        self._works: dict[Key, _Work[Value]] = {}

    def __contains__(self, key: Key) -> bool:
        """Return whether work for `key` is in progress."""
        return key in self._works

    def get(self, key: Key, begin: Callable[[], Coroutine[Deferred[Any], Any, Value]]) -> Deferred[Value]:
        """Return the result of the work for `key`; `begin` starts it unless it is in progress."""
        work = self._works.get(key)
        waiter: Deferred[Value] = Deferred(lambda cancelled: self._leave(key, cancelled))
        if work is not None:
            work.waiters.append(waiter)
            return waiter
        work = self._works[key] = _Work(waiters=[waiter])
        work.running = Deferred.fromCoroutine(begin()).addBoth(self._end, key, work)
        return waiter

    def _end(self, outcome: Value | Failure, key: Key, work: _Work[Value]) -> None:
        if self._works.get(key) is work:
            del self._works[key]
        waiters, work.waiters = work.waiters, []
        for waiter in waiters:
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)

    def _leave(self, key: Key, waiter: Deferred[Value]) -> None:
        work = self._works.get(key)
        if work is None or waiter not in work.waiters:
            return
        work.waiters.remove(waiter)
        if not work.waiters and work.running is not None:
            del self._works[key]
            work.running.cancel()


def run_detached(work: Coroutine[Deferred[Any], Any, Value]) -> Deferred[Value]:
    """Run `work` so that its caller always sees a cancellation as CancelledError.

    Cancelling the returned Deferred cancels the work. The Deferred then fails with CancelledError, whatever error the
    work turns the cancellation into, so a client that disconnects does not look like a failure of the server.
    """
    cancelled = False

    def cancel(_: Deferred[Value]) -> None:
        nonlocal cancelled
        cancelled = True
        running.cancel()

    def finish(outcome: Value | Failure) -> None:
        if not cancelled:
            result.callback(outcome)  # a Failure fails the Deferred

    result: Deferred[Value] = Deferred(cancel)
    running = Deferred.fromCoroutine(work)
    running.addBoth(finish)
    return result


async def together(works: Sequence[Deferred[Value]]) -> list[Value]:
    """Return the results of works in progress, in order; if one fails, or this is cancelled, cancel the rest."""
    try:
        return [await work for work in works]
    finally:
        for work in works:
            work.addErrback(lambda _: None)
            work.cancel()
