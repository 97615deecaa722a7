"""The prober: when it probes, and when a probe is early."""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from facaded.backends.prober import AFTER_ERROR, EARLY_BURST, EARLY_INTERVAL, EARLY_PAUSE, Prober
from facaded.policy.health import Result, Step, Verdict


def make_prober(handle_result: Callable[[Result], float]) -> tuple[Prober, Clock, list[Deferred[Result]]]:
    clock, probes = Clock(), list[Deferred[Result]]()

    def start_probe() -> Deferred[Result]:
        probes.append(Deferred(lambda _: None))
        return probes[-1]

    return Prober(clock, start_probe, handle_result), clock, probes


RESULT = Result(Verdict.GOOD, Step.PING, "no authentication required", 0.1)


def test_a_prober_waits_from_the_end_of_a_probe_to_the_start_of_the_next() -> None:
    results: list[Result] = []
    prober, clock, probes = make_prober(lambda result: results.append(result) or 10)  # type: ignore[func-returns-value]
    prober.start()
    clock.advance(100)
    assert len(probes) == 1
    probes[0].callback(RESULT)
    assert results == [RESULT]
    clock.advance(9.9)
    assert len(probes) == 1
    clock.advance(0.1)
    assert len(probes) == 2
    prober.stop()


def test_a_stopped_prober_cancels_its_probe_and_reports_no_result() -> None:
    results: list[Result] = []
    prober, clock, probes = make_prober(lambda result: results.append(result) or 10)  # type: ignore[func-returns-value]
    prober.start()
    prober.stop()
    assert probes[0].called
    assert results == []
    assert clock.getDelayedCalls() == []


def test_an_error_in_a_probe_does_not_stop_the_probes(no_errors_are_logged: list[LogEvent]) -> None:
    prober, clock, probes = make_prober(lambda _: 10.0)
    prober.start()
    probes[0].errback(AttributeError("a bug"))
    clock.advance(AFTER_ERROR)
    assert len(probes) == 2
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
    prober.stop()


def test_an_error_in_the_callback_does_not_stop_the_probes(no_errors_are_logged: list[LogEvent]) -> None:
    def fail(result: Result) -> float:
        raise ValueError("a bug")

    prober, clock, probes = make_prober(fail)
    prober.start()
    probes[0].callback(RESULT)
    clock.advance(AFTER_ERROR)
    assert len(probes) == 2
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()
    prober.stop()


def test_a_prober_that_is_stopped_between_probes_makes_no_more() -> None:
    prober, clock, probes = make_prober(lambda _: 10)
    prober.start()
    probes[0].callback(RESULT)
    prober.stop()
    clock.advance(100)
    assert len(probes) == 1
    assert clock.getDelayedCalls() == []


def between_probes(seconds: float) -> tuple[Prober, Clock, list[Deferred[Result]]]:
    """Return a prober whose backend was up at its last probe, `seconds` ago."""
    prober, clock, probes = make_prober(lambda _: 10)
    prober.start()
    probes[0].callback(RESULT)
    clock.advance(seconds)
    return prober, clock, probes


def test_an_early_probe_starts_at_once_and_the_next_one_waits_from_its_end() -> None:
    prober, clock, probes = between_probes(5)
    assert prober.probe_early()
    clock.advance(0)
    assert len(probes) == 2
    assert not prober.probe_early(), "a probe is in progress"
    probes[1].callback(RESULT)
    clock.advance(9.9)
    assert len(probes) == 2
    clock.advance(0.1)
    assert len(probes) == 3
    prober.stop()


def test_an_early_probe_just_after_another_is_delayed() -> None:
    prober, clock, probes = between_probes(0.2)
    assert prober.probe_early()
    assert not prober.probe_early(), "it is already due"
    clock.advance(EARLY_PAUSE - 0.3)
    assert len(probes) == 1
    clock.advance(0.2)
    assert len(probes) == 2
    prober.stop()


def test_an_early_probe_does_not_delay_the_next_one() -> None:
    prober, clock, probes = between_probes(9.9)
    assert prober.probe_early()
    clock.advance(0)
    assert len(probes) == 2
    prober.stop()


def test_the_number_of_early_probes_is_limited() -> None:
    prober, clock, probes = between_probes(0)
    for _ in range(3600):
        clock.advance(1)
        prober.probe_early()
        clock.advance(0)
        if not probes[-1].called:
            probes[-1].callback(RESULT)
    assert 360 < len(probes) <= 361 + 3600 / EARLY_INTERVAL + EARLY_BURST
    prober.stop()


def test_a_probe_after_a_clock_jump_starts_at_once() -> None:
    prober, clock, probes = between_probes(0.1)
    prober.probe_now()
    clock.advance(0)
    assert len(probes) == 2
    prober.stop()


def test_a_prober_may_wait_before_its_first_probe() -> None:
    clock, probes = Clock(), list[Deferred[Result]]()

    def start_probe() -> Deferred[Result]:
        probes.append(Deferred(lambda _: None))
        return probes[-1]

    prober = Prober(clock, start_probe, lambda _: 10, delay=60)
    prober.start()
    clock.advance(59.9)
    assert probes == []
    clock.advance(0.1)
    assert len(probes) == 1
    prober.stop()
    assert clock.getDelayedCalls() == []


def test_a_probe_is_postponed_but_never_made_earlier() -> None:
    prober, clock, probes = between_probes(1)
    prober.postpone(5)
    clock.advance(8.9)
    assert len(probes) == 1
    prober.postpone(30)
    clock.advance(29.9)
    assert len(probes) == 1
    clock.advance(0.1)
    assert len(probes) == 2
    prober.postpone(30)
    probes[1].callback(RESULT)
    clock.advance(10)
    assert len(probes) == 3, "during a probe, the wait after it is what its result says"
    prober.stop()


def test_a_prober_that_is_stopped_while_it_is_postponed_leaves_no_timer() -> None:
    prober, clock, probes = between_probes(1)
    prober.postpone(600)
    prober.stop()
    clock.advance(1000)
    assert (len(probes), clock.getDelayedCalls()) == (1, [])


def test_early_probes_are_allowed_again_after_a_bad_result() -> None:
    prober, clock, probes = between_probes(0)
    for _ in range(EARLY_BURST):
        clock.advance(EARLY_PAUSE)
        assert prober.probe_early()
        clock.advance(0)
        probes[-1].callback(RESULT)
    clock.advance(EARLY_PAUSE)
    assert not prober.probe_early()
    clock.advance(9)
    probes[-1].callback(Result(Verdict.BAD, Step.PING, "timeout", 3.0))
    clock.advance(EARLY_PAUSE)
    assert prober.probe_early()
    prober.stop()
