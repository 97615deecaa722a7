"""One piece of work for however many ask for it at the same time."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@define
class _Work(Generic[Value]):
    running: Deferred[None] | None = None
    waiting: list[Deferred[Value]] = field(factory=list)


class SingleFlight(Generic[Key, Value]):
    """Work that is under way, by its key. Who asks for a key that is under way gets the same result or the same error.

    An asker that is cancelled leaves the others alone; when the last one is, the work is.
    """

    def __init__(self) -> None:
        self._works: dict[Key, _Work[Value]] = {}

    def get(self, key: Key, begin: Callable[[], Coroutine[Deferred[Any], Any, Value]]) -> Deferred[Value]:
        """The result of the work for `key`, which `begin` starts if it is not under way."""
        work = self._works.get(key)
        asker: Deferred[Value] = Deferred(lambda gone: self._leave(key, gone))
        if work is not None:
            work.waiting.append(asker)
            return asker
        work = self._works[key] = _Work(waiting=[asker])
        work.running = Deferred.fromCoroutine(begin()).addBoth(self._finish, key, work)
        return asker

    def _finish(self, outcome: Value | Failure, key: Key, work: _Work[Value]) -> None:
        if self._works.get(key) is work:
            del self._works[key]
        waiting, work.waiting = work.waiting, []
        for asker in waiting:
            if isinstance(outcome, Failure):
                asker.errback(outcome)
            else:
                asker.callback(outcome)

    def _leave(self, key: Key, gone: Deferred[Value]) -> None:
        work = self._works.get(key)
        if work is None or gone not in work.waiting:
            return
        work.waiting.remove(gone)
        if not work.waiting and work.running is not None:
            del self._works[key]
            work.running.cancel()


def detached(work: Coroutine[Deferred[Any], Any, Value]) -> Deferred[Value]:
    """Run `work` apart from whoever waits for it.

    Cancelling the Deferred ends the work, and the Deferred fails with CancelledError whatever the work makes of that:
    so a client that goes away is not taken for an error of the server that was being asked.
    """
    left = False

    def leave(_: Deferred[Value]) -> None:
        nonlocal left
        left = True
        running.cancel()

    def finish(outcome: Value | Failure) -> None:
        if not left:
            waiting.callback(outcome)  # a Failure becomes the Deferred's own

    waiting: Deferred[Value] = Deferred(leave)
    running = Deferred.fromCoroutine(work)
    running.addBoth(finish)
    return waiting
