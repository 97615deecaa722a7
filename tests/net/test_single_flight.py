"""Shared work, and work whose caller always sees a cancellation."""

import pytest
from twisted.internet.defer import CancelledError, Deferred

from facaded.net.single_flight import SingleFlight, run_detached, together


class TroubleError(Exception):
    """The error that the work raises in place of any other."""


async def work(step: Deferred[int]) -> int:
    try:
        return await step
    except Exception:
        raise TroubleError from None


def outcome(deferred: Deferred[int]) -> object:
    results: list[object] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.type))
    return results[0] if results else None


def test_concurrent_callers_get_the_same_result() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    step: Deferred[int] = Deferred()
    first, second = flights.get("a", lambda: work(step)), flights.get("a", lambda: pytest.fail("started twice"))
    step.callback(5)
    assert (outcome(first), outcome(second)) == (5, 5)
    again: Deferred[int] = Deferred()
    assert outcome(flights.get("a", lambda: work(again))) is None
    again.callback(6)


def test_work_is_cancelled_only_with_its_last_caller() -> None:
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


def test_detached_work_returns_its_result_or_its_error() -> None:
    good: Deferred[int] = Deferred()
    bad: Deferred[int] = Deferred()
    results = run_detached(work(good)), run_detached(work(bad))
    good.callback(5)
    bad.errback(ValueError())
    assert [outcome(result) for result in results] == [5, TroubleError]


def test_cancelling_detached_work_cancels_it_with_a_cancelled_error() -> None:
    ended: list[str] = []
    step: Deferred[int] = Deferred(lambda _: ended.append("cancelled"))
    result = run_detached(work(step))
    result.cancel()
    assert ended == ["cancelled"]
    assert outcome(result) is CancelledError


def test_works_together_return_their_results_in_order() -> None:
    steps: list[Deferred[int]] = [Deferred(), Deferred()]
    results: list[list[int]] = []
    Deferred.fromCoroutine(together(steps)).addCallback(results.append)
    steps[1].callback(2)
    steps[0].callback(1)
    assert results == [[1, 2]]


def test_works_together_end_together() -> None:
    ended: list[str] = []
    failing: list[Deferred[int]] = [Deferred(), Deferred(lambda _: ended.append("second"))]
    errors: list[object] = []
    Deferred.fromCoroutine(together(failing)).addErrback(lambda failure: errors.append(failure.type))
    failing[0].errback(TroubleError())
    cancelled: list[Deferred[int]] = [Deferred(), Deferred(lambda _: ended.append("fourth"))]
    work = Deferred.fromCoroutine(together(cancelled)).addErrback(lambda failure: errors.append(failure.type))
    work.cancel()
    assert (errors, ended) == ([TroubleError, CancelledError], ["second", "fourth"])
