"""The schedule of probes: how far they go, and how many requests they send."""

from random import Random

import pytest
from attrs import evolve

from facaded.policy.health import (
    Canary,
    Confirmations,
    Degradation,
    Health,
    ProbeDepth,
    Result,
    Settings,
    State,
    Step,
    Verdict,
)
from facaded.policy.probe_schedule import (
    BODY_INTERVAL,
    DEGRADED_BODY_INTERVAL,
    is_same_failure,
    probe_delay,
    probe_depth,
)
from facaded.policy.samples import CALM_SAMPLES, LONG_WINDOW, Count
from facaded.policy.transitions import observe

SETTINGS = Settings()
CANARY = Canary(True, "sha256:" + "a" * 64)
STEPS = (Step.PING, Step.TOKEN, Step.MANIFEST)
READY = Health(State.UP, 0.0, canary=CANARY, canary_seen=True, deep_at=0.0, body_at=0.0)
BAD_BODY = Result(Verdict.BAD, Step.BODY, "answered 500", 0.1, canary=CANARY, passed=STEPS)


def good(depth: ProbeDepth) -> Result:
    """Return the result of a probe of that depth that passes."""
    passed = (*STEPS, *([Step.BODY] if depth.body else []), *([Step.BLOB, Step.CDN] if depth.deep else []))
    result = Result(Verdict.GOOD, passed[-1], "all steps passed", 0.1, requests=len(passed), canary=CANARY)
    return evolve(result, deep=depth.deep, passed=passed)


def requests_by_hour(health: Health, hours: int) -> list[list[Result]]:
    """Return the results of each hour of an idle backend that works."""
    random, now, results = Random(1), 0.0, [list[Result]() for _ in range(hours)]
    while now < hours * 3600.0:
        result = good(probe_depth(health, now, SETTINGS))
        results[int(now // 3600.0)].append(result)
        health = observe(health, result, now, SETTINGS)
        now += probe_delay(health, SETTINGS, random.random(), now)
    return results


def test_an_idle_backend_that_works_gets_one_get_of_the_manifest_an_hour_and_21_requests_a_minute() -> None:
    for results in requests_by_hour(READY, 12):
        assert sum(Step.BODY in result.passed for result in results) <= 1
        shallow = [result for result in results if not result.deep]
        assert all(result.requests <= 3 for result in shallow if Step.BODY not in result.passed)
        assert sum(result.requests for result in results) / 60.0 <= 21.0


def test_the_manifest_is_fetched_at_most_hourly_and_not_before_the_canary_was_seen() -> None:
    assert not probe_depth(READY, BODY_INTERVAL - 0.1, SETTINGS).body
    assert probe_depth(READY, BODY_INTERVAL, SETTINGS).body
    assert probe_depth(evolve(READY, body_at=None), 0.0, SETTINGS).body
    assert not probe_depth(evolve(READY, canary_seen=False), BODY_INTERVAL, SETTINGS).body
    assert not probe_depth(evolve(READY, state=State.UNKNOWN, body_at=None), BODY_INTERVAL, SETTINGS).body


def test_after_it_failed_it_is_fetched_with_every_probe_until_the_backend_is_up() -> None:
    health = observe(READY, BAD_BODY, 10.0, SETTINGS)
    assert health.body_at == 10.0
    for second in (11.0, 12.0):
        assert probe_depth(health, second, SETTINGS).body
        health = observe(health, BAD_BODY, second, SETTINGS)
    assert health.state is State.DOWN
    for second in (22.0, 23.0):
        assert probe_depth(health, second, SETTINGS).body
        health = observe(health, good(ProbeDepth(body=True)), second, SETTINGS)
    assert health.state is State.UP
    assert not probe_depth(health, 24.0, SETTINGS).body


def test_after_one_failed_fetch_it_is_fetched_again_after_a_deep_interval() -> None:
    health = observe(observe(READY, BAD_BODY, 10.0, SETTINGS), good(ProbeDepth(body=True)), 11.0, SETTINGS)
    assert not probe_depth(health, 12.0, SETTINGS).body
    short = evolve(SETTINGS, deep_interval=20.0)
    assert probe_depth(health, 31.0, short).body


def test_while_too_many_fetches_fail_they_are_frequent_enough_to_find_the_end() -> None:
    assert 2 * CALM_SAMPLES * DEGRADED_BODY_INTERVAL == LONG_WINDOW
    health = evolve(READY, degraded=Degradation(0.0, Step.BODY, Count(6, 6, 60.0)))
    assert not probe_depth(health, DEGRADED_BODY_INTERVAL - 0.1, SETTINGS).body
    assert probe_depth(health, DEGRADED_BODY_INTERVAL, SETTINGS).body
    assert probe_depth(health, 10.0, evolve(SETTINGS, deep_interval=10.0)).body


@pytest.mark.parametrize("step", [Step.BLOB, Step.CDN])
def test_every_probe_is_deep_while_blobs_fail_too_often(step: Step) -> None:
    assert not probe_depth(READY, 1.0, SETTINGS).deep
    assert probe_depth(evolve(READY, degraded=Degradation(0.0, step, Count(6, 6, 60.0))), 1.0, SETTINGS).deep


@pytest.mark.parametrize(
    ("state", "confirm"),
    [(State.UP, True), (State.LIMITED, True), (State.DOWN, False), (State.UNKNOWN, False)],
)
def test_a_failed_step_is_confirmed_unless_the_backend_is_down_anyway(state: State, confirm: bool) -> None:
    assert probe_depth(Health(state, 0.0), 1.0, SETTINGS).confirm is confirm


def test_the_time_of_the_confirmations_is_part_of_the_wait() -> None:
    bad = Result(Verdict.BAD, Step.PING, "timeout", 3.0)
    for seconds, wait in ((0.25, 0.75), (1.0, 0.0), (1.5, 0.0)):
        health = observe(READY, evolve(bad, confirmations=Confirmations(5, 5, seconds)), 1.0, SETTINGS)
        assert probe_delay(health, SETTINGS, 0.0, 1.0) == wait
    resting = observe(READY, evolve(bad, confirmations=Confirmations(5, 5, 1.0), retry_after=20.0), 1.0, SETTINGS)
    assert probe_delay(resting, SETTINGS, 0.0, 1.0) == 20.0


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_no_backend_is_probed_before_its_retry_after_ends(state: State, jitter: float) -> None:
    health = Health(state, 0.0, bads=1, goods=1, retry_at=100.0)
    assert probe_delay(health, SETTINGS, jitter, 30.0) == 70.0
    assert probe_delay(health, SETTINGS, jitter, 200.0) <= SETTINGS.interval


def test_a_degraded_backend_that_goes_on_failing_is_not_probed_fast() -> None:
    failing = Health(State.UP, 0.0, bads=1)
    brown_out = Degradation(0.0, Step.CDN, Count(8, 6, 60.0))
    assert probe_delay(failing, SETTINGS, 0.0, 1.0) == SETTINGS.fast_interval
    assert probe_delay(evolve(failing, degraded=brown_out), SETTINGS, 0.0, 1.0) == SETTINGS.interval


CONFIRMED = evolve(BAD_BODY, confirmations=Confirmations(5, 5, 0.5))


@pytest.mark.parametrize(
    ("first", "second", "seconds", "same"),
    [
        (BAD_BODY, BAD_BODY, 0.5, True),
        (BAD_BODY, BAD_BODY, 0.75, False),  # the first one began 0.1 s before its end
        (BAD_BODY, CONFIRMED, 0.5, True),
        (CONFIRMED, CONFIRMED, 0.1, True),
        (CONFIRMED, CONFIRMED, 0.3, False),  # and its confirmation took half a second
        (BAD_BODY, evolve(CONFIRMED, confirmations=Confirmations(5, 3)), 0.1, False),  # counts as a brown-out
        (BAD_BODY, evolve(BAD_BODY, retry_after=9.0), 0.1, False),
        (BAD_BODY, evolve(BAD_BODY, verdict=Verdict.GOOD), 0.1, False),
        (evolve(BAD_BODY, verdict=Verdict.LIMITED), BAD_BODY, 0.1, False),
    ],
)
def test_failures_of_one_moment_are_one(first: Result, second: Result, seconds: float, same: bool) -> None:
    failing = evolve(READY, bads=1, failed=first, failed_at=10.0)
    assert is_same_failure(failing, second, 10.0 + seconds, SETTINGS) is same
    assert not is_same_failure(READY, second, 10.0 + seconds, SETTINGS)
    assert not is_same_failure(evolve(failing, failed=None), second, 10.0 + seconds, SETTINGS)
