"""The loop that probes a backend: when it probes, and when something hastens it."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from facaded.backends.prober import AFTER_ERROR, EARLY_BURST, EARLY_INTERVAL, EARLY_PAUSE, Prober
from facaded.policy.health import Result, Step, Verdict


def prober(heard: Callable[[Result], float]) -> tuple[Prober, Clock, list[Deferred[Result]]]:
    clock, probes = Clock(), list[Deferred[Result]]()

    def one() -> Deferred[Result]:
        probes.append(Deferred(lambda _: None))
        return probes[-1]

    return Prober(clock, one, heard), clock, probes


RESULT = Result(Verdict.GOOD, Step.PING, "no authentication required", 0.1)


def test_a_prober_waits_from_the_end_of_a_probe_to_the_start_of_the_next() -> None:
    heard: list[Result] = []
    loop, clock, probes = prober(lambda result: heard.append(result) or 10)  # type: ignore[func-returns-value]
    loop.start()
    clock.advance(100)
    assert len(probes) == 1
    probes[0].callback(RESULT)
    assert heard == [RESULT]
    clock.advance(9.9)
    assert len(probes) == 1
    clock.advance(0.1)
    assert len(probes) == 2
    loop.stop()


def test_a_prober_that_is_stopped_cancels_its_probe_and_hears_nothing_more() -> None:
    heard: list[Result] = []
    loop, clock, probes = prober(lambda result: heard.append(result) or 10)  # type: ignore[func-returns-value]
    loop.start()
    loop.stop()
    assert probes[0].called
    assert heard == []
    assert clock.getDelayedCalls() == []


def test_an_error_in_what_hears_a_result_does_not_end_the_probes(no_errors_are_logged: list[LogEvent]) -> None:
    def heard(result: Result) -> float:
        raise ValueError("a bug")

    loop, clock, probes = prober(heard)
    loop.start()
    probes[0].callback(RESULT)
    clock.advance(AFTER_ERROR)
    assert len(probes) == 2
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
    loop.stop()


def test_a_prober_that_is_stopped_between_probes_makes_no_more() -> None:
    loop, clock, probes = prober(lambda _: 10)
    loop.start()
    probes[0].callback(RESULT)
    loop.stop()
    clock.advance(100)
    assert len(probes) == 1
    assert clock.getDelayedCalls() == []


def between_probes(seconds: float) -> tuple[Prober, Clock, list[Deferred[Result]]]:
    """A prober that found its backend well, some seconds ago."""
    loop, clock, probes = prober(lambda _: 10)
    loop.start()
    probes[0].callback(RESULT)
    clock.advance(seconds)
    return loop, clock, probes


def test_a_hastened_probe_is_made_at_once_and_the_next_one_waits_from_its_end() -> None:
    loop, clock, probes = between_probes(5)
    assert loop.probe_early()
    clock.advance(0)
    assert len(probes) == 2
    assert not loop.probe_early(), "one that is under way is left alone"
    probes[1].callback(RESULT)
    clock.advance(9.9)
    assert len(probes) == 2
    clock.advance(0.1)
    assert len(probes) == 3
    loop.stop()


def test_a_probe_hastened_just_after_another_is_delayed_and_not_dropped() -> None:
    loop, clock, probes = between_probes(0.2)
    assert loop.probe_early()
    assert not loop.probe_early(), "it is on its way"
    clock.advance(EARLY_PAUSE - 0.3)
    assert len(probes) == 1
    clock.advance(0.2)
    assert len(probes) == 2
    loop.stop()


def test_a_probe_that_comes_sooner_by_itself_is_not_put_off() -> None:
    loop, clock, probes = between_probes(9.9)
    assert loop.probe_early()
    clock.advance(0)
    assert len(probes) == 2
    loop.stop()


def test_requests_that_fail_for_ever_do_not_make_a_load_of_probes() -> None:
    loop, clock, probes = between_probes(0)
    for _ in range(3600):
        clock.advance(1)
        loop.probe_early()
        clock.advance(0)
        if not probes[-1].called:
            probes[-1].callback(RESULT)
    assert 360 < len(probes) <= 361 + 3600 / EARLY_INTERVAL + EARLY_BURST
    loop.stop()


def test_a_clock_that_has_jumped_is_reason_enough_to_probe() -> None:
    loop, clock, probes = between_probes(0.1)
    loop.probe_now()
    clock.advance(0)
    assert len(probes) == 2
    loop.stop()
