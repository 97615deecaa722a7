"""Work that is shared, and work that is run_detached from whoever waits for it."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from facaded.net.single_flight import SingleFlight, run_detached


class TroubleError(Exception):
    """What the work makes of everything that goes wrong."""


async def work(step: Deferred[int]) -> int:
    try:
        return await step
    except Exception:
        raise TroubleError from None


def outcome(deferred: Deferred[int]) -> object:
    found: list[object] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.type))
    return found[0] if found else None


def test_who_asks_meanwhile_gets_the_same_result() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    step: Deferred[int] = Deferred()
    first, second = flights.get("a", lambda: work(step)), flights.get("a", lambda: pytest.fail("asked twice"))
    step.callback(5)
    assert (outcome(first), outcome(second)) == (5, 5)
    again: Deferred[int] = Deferred()
    assert outcome(flights.get("a", lambda: work(again))) is None
    again.callback(6)


def test_one_who_leaves_does_not_end_the_work_of_others() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    ended: list[str] = []
    step: Deferred[int] = Deferred(lambda _: ended.append("cancelled"))
    first, second = flights.get("a", lambda: work(step)), flights.get("a", lambda: work(step))
    first.cancel()
    assert outcome(first) is CancelledError
    assert ended == []
    second.cancel()
    assert ended == ["cancelled"]
    assert outcome(second) is CancelledError


def test_detached_work_gives_its_result_or_its_error() -> None:
    good: Deferred[int] = Deferred()
    bad: Deferred[int] = Deferred()
    waiting = run_detached(work(good)), run_detached(work(bad))
    good.callback(5)
    bad.errback(ValueError())
    assert [outcome(each) for each in waiting] == [5, TroubleError]


def test_who_leaves_detached_work_ends_it_and_sees_that_it_was_cancelled() -> None:
    ended: list[str] = []
    step: Deferred[int] = Deferred(lambda _: ended.append("cancelled"))
    waiting = run_detached(work(step))
    waiting.cancel()
    assert ended == ["cancelled"]
    assert outcome(waiting) is CancelledError
