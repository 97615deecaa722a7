"""Requests to one backend that several clients wait for, because they asked for the same at the same time."""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from facaded.backends.request_gate import RequestGate
from facaded.backends.shares import Asker
from facaded.net.single_flight import SingleFlight
from facaded.policy.health import Step

T = TypeVar("T")
Begin = Callable[[], Coroutine[Deferred[Any], Any, T]]


class JoinedRequests(Generic[T]):
    """Requests of which one for each key is in progress at a time. Each has a place of `gate`.

    Only a request that has its place is joined by other sources: one that waits has the turn of its own source, which
    may have many requests before it.
    """

    def __init__(self, gate: RequestGate) -> None:
        self._gate = gate
        self._waiting: SingleFlight[Hashable, T] = SingleFlight()
        self._in_progress: SingleFlight[Hashable, T] = SingleFlight()

    async def get(
        self, key: Hashable, asker: Asker, step: Step | None, work: Begin[T], cached: Callable[[], T | None]
    ) -> T:
        """Return the result of the request for `key` that is in progress, else of `work`, which begins with `step`.

        If it had to wait for a place, what is `cached` by then is returned instead. Raises as `RequestGate.hold` does.
        """

        def begin() -> Coroutine[Deferred[Any], Any, T]:
            return self._gate.hold(step, work, asker)

        async def begin_in_turn() -> T:
            await self._gate.wait(step, asker)
            known = cached()
            return known if known is not None else await self._in_progress.get(key, begin)

        if key in self._in_progress:
            return await self._in_progress.get(key, begin)
        if self._gate.must_wait(asker.source):
            asker.note_wait(self._gate)  # also if it joins another one of its source
        return await self._waiting.get((asker.source, key), begin_in_turn)
