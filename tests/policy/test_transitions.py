"""What changes a backend's health: confirmed failures, rate limits, drift, and brown-outs."""

from collections.abc import Iterable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.evidence import Attempt
from facaded.policy.health import (
    CONFIRMATIONS,
    LONGEST_RETRY_AFTER,
    NO_SAMPLES,
    RELAPSE_TIME,
    Canary,
    Confirmations,
    Damping,
    Degradation,
    Health,
    Purpose,
    Rank,
    Result,
    Settings,
    State,
    Step,
    Verdict,
    restore,
)
from facaded.policy.probe_schedule import probe_delay, probe_depth
from facaded.policy.samples import ALLOWANCE, CALM_SAMPLES, LONG_WINDOW, SHORT_WINDOW, Count
from facaded.policy.transitions import observe, observe_attempt
from facaded.policy.watch_state import forget_canary

SETTINGS = Settings(interval=10, fast_interval=1, timeout=3, fall=2, rise=2)
STEPS = (Step.PING, Step.TOKEN, Step.MANIFEST)
GOOD = Result(Verdict.GOOD, Step.MANIFEST, "manifest found", 0.1, passed=STEPS)
DEEP = evolve(GOOD, step=Step.CDN, passed=(*STEPS, Step.BLOB, Step.CDN), deep=True)
LIMITED = Result(Verdict.LIMITED, Step.PING, "rate-limited (429)", 0.1)
BAD = Result(Verdict.BAD, Step.PING, "answered 500", 0.1)
ALL_FAIL, ONE_PASSES = Confirmations(CONFIRMATIONS, CONFIRMATIONS), Confirmations(CONFIRMATIONS, CONFIRMATIONS - 1)
OUTAGE, BROWN_OUT = evolve(BAD, confirmations=ALL_FAIL), evolve(BAD, confirmations=ONE_PASSES)
DEAD_CDN = evolve(DEEP, verdict=Verdict.BAD, passed=(*STEPS, Step.BLOB), confirmations=ALL_FAIL)
LOCAL = Result(Verdict.LOCAL, Step.PING, "too many open files", 0.1)
UP = Health(State.UP, 0.0)


def after(health: Health, results: Iterable[Result], start: float = 1.0, every: float = 1.0, fall: int = 2) -> Health:
    """Return the health after these results, one each `every` seconds."""
    for number, result in enumerate(results):
        health = observe(health, result, start + number * every, evolve(SETTINGS, fall=fall))
    return health


@pytest.mark.parametrize("fall", [1, 2, 3, 5])
@pytest.mark.parametrize("state", [State.UP, State.LIMITED])
def test_the_last_bad_result_does_not_count_if_a_confirming_request_passes(state: State, fall: int) -> None:
    health = after(Health(state, 0.0), [BROWN_OUT] * 4 * fall, fall=fall)
    assert (health.state, health.bads) == (state, fall - 1)
    assert health.is_failing == (fall > 1)
    assert after(health, [OUTAGE], 50.0, fall=fall).state is State.DOWN


@pytest.mark.parametrize("fall", [1, 2, 3])
def test_an_outage_counts_in_full_and_so_does_a_failure_that_nothing_confirmed(fall: int) -> None:
    for result in (OUTAGE, BAD):
        assert after(UP, [result] * (fall - 1), fall=fall).state is State.UP
        assert after(UP, [result] * fall, fall=fall).state is State.DOWN


def test_bad_results_before_the_last_one_need_no_confirmation() -> None:
    assert after(UP, [BROWN_OUT, OUTAGE]).state is State.DOWN


@pytest.mark.parametrize("fall", [2, 3])
def test_a_confirmed_failure_with_a_retry_after_is_down_at_once(fall: int) -> None:
    announced = evolve(OUTAGE, retry_after=40.0)
    health = after(UP, [announced], fall=fall)
    assert (health.state, health.retry_at) == (State.DOWN, 41.0)
    partly = after(UP, [evolve(BROWN_OUT, retry_after=40.0)], fall=fall)
    assert (partly.state, partly.bads, partly.retry_at) == (State.UP, fall - 1, None)
    unconfirmed = after(UP, [evolve(BAD, retry_after=40.0)], fall=fall)
    assert (unconfirmed.state, unconfirmed.bads) == (State.UP, 1)


@pytest.mark.parametrize("state", State)
def test_what_this_machine_could_not_ask_is_no_result(state: State) -> None:
    health = Health(state, 0.0, bads=int(state is not State.DOWN), goods=int(state is State.DOWN))
    assert after(health, [LOCAL] * 100) == evolve(health, last=LOCAL)


def test_a_rate_limit_between_two_failures_does_not_part_them_but_a_good_result_does() -> None:
    assert after(UP, [OUTAGE, LIMITED, OUTAGE]).state is State.DOWN
    assert after(UP, [LIMITED, OUTAGE, LIMITED, OUTAGE]).state is State.DOWN
    assert after(UP, [OUTAGE, LIMITED, GOOD, OUTAGE]).state is State.LIMITED


def test_a_limited_backend_whose_last_failure_is_long_ago_is_not_probed_fast() -> None:
    health = after(UP, [OUTAGE])
    assert probe_delay(health, SETTINGS, 0.0, 1.0) == SETTINGS.fast_interval
    health = after(health, [LIMITED] * 5, 2.0)
    assert (health.state, health.is_failing) == (State.LIMITED, True)
    assert probe_delay(health, SETTINGS, 0.0, 6.0) == SETTINGS.interval


# limited is damped by its own relapses


def limit(health: Health, now: float) -> Health:
    return after(health, [LIMITED, GOOD, GOOD], now)


def test_each_relapse_into_the_rate_limit_doubles_the_wait_for_serving_only() -> None:
    health, serving = UP, list[float]()
    for number in range(7):
        health = limit(health, 100.0 * (number + 1))
        serving.append(health.failback_after(60.0, Purpose.SERVE))
        assert health.failback_after(60.0, Purpose.REDIRECT) == 60.0
    assert serving == [60, 120, 240, 480, 960, 1800, 1800]
    assert health.damping == Damping()


def test_a_rate_limit_long_after_the_last_one_is_no_relapse() -> None:
    health = limit(limit(UP, 10.0), 100.0)
    assert health.limit_damping.relapses == 1
    since = health.since
    health = after(health, [GOOD], since + 2 * 60.0 + RELAPSE_TIME - 0.1)
    assert health.limit_damping.relapses == 1
    health = after(health, [GOOD], since + 2 * 60.0 + RELAPSE_TIME)
    assert health.limit_damping.relapses == 0


def test_a_backend_that_was_down_and_comes_back_limited_has_no_relapse_into_the_limit() -> None:
    health = after(UP, [OUTAGE, OUTAGE, LIMITED, LIMITED])
    assert (health.state, health.limit_damping) == (State.LIMITED, Damping())
    assert health.damping.back_at == 4.0


# a Retry-After


def test_a_retry_after_is_never_shortened_and_never_longer_than_ten_minutes() -> None:
    health = after(UP, [evolve(LIMITED, retry_after=300.0), evolve(LIMITED, retry_after=5.0)])
    assert health.retry_at == 301.0
    assert after(health, [evolve(LIMITED, retry_after=5.0)], 400.0).retry_at == 405.0, "the last one ended long ago"
    assert after(UP, [evolve(LIMITED, retry_after=1e9)], 10.0).retry_at == 10.0 + LONGEST_RETRY_AFTER
    assert after(health, [GOOD], 2.0).retry_at == 301.0
    assert health.is_resting(300.9)
    assert not health.is_resting(301.0)


def test_a_retry_after_of_a_served_request_changes_nothing_else() -> None:
    attempt = Attempt("hub", Step.MANIFEST, False, retry_after=30.0, sample=False)
    assert observe_attempt(UP, attempt, 10.0, SETTINGS) == evolve(UP, retry_at=40.0)


# drift

FOUND, GONE = Canary(True, "sha256:" + "a" * 64), Canary(False, "", "answered 404 for the canary")
FAULTY = evolve(FOUND, drift="a blob of the canary is not there")


def test_drift_that_only_a_deep_probe_finds_stays_until_the_next_deep_one() -> None:
    health = after(UP, [evolve(DEEP, canary=FAULTY)])
    for _ in range(6):
        health = after(health, [evolve(GOOD, canary=FOUND)])
        assert health.canary is not None
        assert health.canary.drift == FAULTY.drift
    for cleared in (evolve(DEEP, canary=FOUND), evolve(GOOD, canary=GONE)):
        assert after(health, [cleared]).canary == cleared.canary


def test_drift_that_a_shallow_probe_finds_ends_with_the_next_one_without() -> None:
    for deep in (False, True):
        health = after(UP, [evolve(GOOD, canary=evolve(FOUND, drift="differs"), deep=deep)])
        assert after(health, [evolve(GOOD, canary=FOUND)]).canary == FOUND


def test_a_deleted_canary_that_is_back_drifts_no_more_although_its_blob_was_still_requested() -> None:
    health = after(UP, [evolve(GOOD, canary=FOUND), evolve(DEEP, canary=GONE), evolve(GOOD, canary=GONE)])
    assert health.canary == GONE
    health = after(after(UP, [evolve(DEEP, canary=GONE)]), [evolve(GOOD, canary=FOUND)])
    assert health.canary == FOUND


def test_a_canary_that_is_not_there_does_not_prove_that_the_cdn_works() -> None:
    down = after(UP, [DEAD_CDN, DEAD_CDN])
    assert down.state is State.DOWN
    deleted = evolve(GOOD, canary=GONE, deep=True, passed=(Step.PING, Step.TOKEN))
    health = after(down, [deleted] * 10, 3.0)
    assert (health.state, health.goods) == (State.DOWN, 0)
    assert after(health, [evolve(DEEP, canary=GONE)] * 2, 20.0).state is State.UP, "the blob was still requested"
    assert after(health, [evolve(DEEP, canary=FOUND)] * 2, 20.0).state is State.UP


def test_a_rate_limit_before_the_cdn_does_not_prove_that_the_cdn_works() -> None:
    down = after(UP, [DEAD_CDN, DEAD_CDN])
    limited = evolve(LIMITED, step=Step.MANIFEST)
    assert after(down, [limited] * 5, 3.0).state is State.DOWN
    assert after(down, [evolve(limited, step=Step.CDN)] * 2, 3.0).state is State.LIMITED


def test_a_canary_that_is_not_there_is_enough_if_the_backend_failed_before_it() -> None:
    assert after(UP, [OUTAGE, OUTAGE, *[evolve(GOOD, canary=GONE)] * 2]).state is State.UP


# brown-outs


def serve(health: Health, results: str, start: float, every: float = 0.1, step: Step = Step.BLOB) -> Health:
    """Return the health after served requests: `b` is a bad one, `g` a good one."""
    for number, letter in enumerate(results):
        attempt = Attempt("hub", step, letter == "g")
        health = observe_attempt(health, attempt, start + number * every, SETTINGS)
    return health


@pytest.mark.parametrize(("every", "window"), [(1.0, SHORT_WINDOW), (60.0, LONG_WINDOW)])
def test_a_brown_out_begins_by_either_window(every: float, window: float) -> None:
    start = 1000.0
    calm = serve(UP, "b" * ALLOWANCE, start, every)
    assert calm.degraded is None
    health = serve(calm, "b", start + ALLOWANCE * every, every)
    count = Count(ALLOWANCE + 1, ALLOWANCE + 1, window)
    assert health.degraded == Degradation(start + ALLOWANCE * every, Step.BLOB, count)
    assert (health.state, health.bads, health.rank) == (State.UP, 0, Rank.DEGRADED)
    assert not health.is_sound


def test_confirming_requests_count_in_a_brown_out_and_as_one_in_an_outage() -> None:
    assert after(UP, [OUTAGE]).samples.count(Step.PING, 1.0, SHORT_WINDOW) == Count(1, 1, SHORT_WINDOW)
    assert after(UP, [BROWN_OUT]).samples.count(Step.PING, 1.0, SHORT_WINDOW) == Count(6, 5, SHORT_WINDOW)
    assert after(UP, [BROWN_OUT, BROWN_OUT]).degraded is not None
    passed = after(UP, [DEAD_CDN]).samples
    assert {step: count.failed for step, count in passed.counts(1.0, SHORT_WINDOW).items()} == {
        **dict.fromkeys((*STEPS, Step.BLOB), 0),
        Step.CDN: 1,
    }


def test_a_rate_limit_is_no_failed_sample() -> None:
    assert after(UP, [evolve(LIMITED, passed=(Step.PING,), step=Step.TOKEN)]).samples.counts(1.0, SHORT_WINDOW) == {
        Step.PING: Count(1, 0, SHORT_WINDOW)
    }


@given(st.text("bg", max_size=80), st.sampled_from([State.UP, State.LIMITED, State.DOWN, State.UNKNOWN]))
def test_served_requests_change_only_whether_a_backend_is_degraded(results: str, state: State) -> None:
    before = Health(state, 0.0, bads=int(state is State.UP), goods=int(state is State.DOWN))
    health = serve(before, results, 1.0)
    changed = evolve(health, samples=before.samples, degraded=None, damping=before.damping)
    assert changed == before
    if state in (State.DOWN, State.UNKNOWN):
        assert health == before


def test_a_brown_out_ends_when_hardly_any_request_failed_in_ten_minutes() -> None:
    began = serve(UP, "b" * 6, 1000.0)
    assert began.degraded is not None
    health, now = began, 1001.0
    while health.degraded is not None and now < 3000.0:
        now += 10.0
        health = observe(health, DEEP, now, SETTINGS)
    assert 1000.0 + LONG_WINDOW - 10.0 <= now <= 1000.0 + LONG_WINDOW + 10.0
    assert (health.state, health.sound_since, health.damping.back_at) == (State.UP, now, now)
    assert health.usable_since(Purpose.SERVE) == health.usable_since(Purpose.REDIRECT) == now
    assert health.deepest_failed_step is None


def test_a_brown_out_goes_on_while_more_than_two_percent_fail() -> None:
    health = serve(UP, "b" * 6, 1000.0)
    for number in range(360):
        now = 1010.0 + number * 10
        health = observe(
            health, evolve(BROWN_OUT, confirmations=Confirmations(5, 0)) if number % 6 == 0 else DEEP, now, SETTINGS
        )
        assert health.degraded is not None


def degrade(health: Health, start: float) -> tuple[Health, float]:
    """Return the health after one brown-out, and when that ended."""
    health, now = serve(health, "b" * 6, start), start + 1.0
    assert health.degraded is not None
    while health.degraded is not None:
        now += 10.0
        health = observe(health, DEEP, now, SETTINGS)
    return health, now


def test_each_brown_out_soon_after_the_last_doubles_the_wait() -> None:
    health, now, waits = UP, 0.0, list[float]()
    for _ in range(7):
        health, now = degrade(health, now + 120.0)
        waits.append(health.failback_after(60.0))
    assert waits == [60, 120, 240, 480, 960, 1800, 1800]
    health, _ = degrade(health, now + LONG_WINDOW + 1800.0 + 1.0)
    assert health.failback_after(60.0) == 60.0


def test_down_ends_a_brown_out_and_is_the_same_fall() -> None:
    degraded = serve(evolve(UP, damping=Damping(900.0, 2)), "b" * 6, 1000.0)
    assert degraded.damping.relapses == 3
    health = after(degraded, [OUTAGE, OUTAGE], 1001.0)
    assert (health.state, health.degraded, health.samples) == (State.DOWN, None, NO_SAMPLES)
    assert health.damping.relapses == 3
    assert after(health, [DEEP, DEEP], 1003.0).degraded is None


def test_a_limited_backend_can_be_degraded_and_stays_so_when_it_is_up_again() -> None:
    health = serve(Health(State.LIMITED, 0.0), "b" * 6, 1000.0)
    assert health.degraded is not None
    assert health.rank is Rank.LIMITED
    health = after(health, [DEEP, DEEP], 1001.0)
    assert (health.state, health.rank) == (State.UP, Rank.DEGRADED)


def test_a_brown_out_outlasts_a_restart_until_it_is_calm() -> None:
    degraded = evolve(serve(UP, "b" * 6, 1000.0), samples=NO_SAMPLES)
    health = observe(restore(degraded), GOOD, 1001.0, SETTINGS)
    assert (health.state, health.degraded, health.rank) == (State.UP, degraded.degraded, Rank.DEGRADED)
    for number in range(CALM_SAMPLES):
        assert health.degraded is not None
        assert probe_depth(health, 1591.0 + number, SETTINGS).deep
        health = observe(health, DEEP, 1592.0 + number, SETTINGS)
    assert health.degraded is None


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("deep_interval", [60.0, 600.0])
def test_an_idle_backend_that_works_again_does_not_stay_degraded(step: Step, deep_interval: float) -> None:
    """Probes sample every step often enough to end a brown-out, however it was found."""
    settings = evolve(SETTINGS, deep_interval=deep_interval)
    health = evolve(UP, canary_seen=True, body_at=0.0, deep_at=990.0)
    health, now = serve(health, "b" * 6, 1000.0, step=step), 1001.0
    while health.degraded is not None and now < 10000.0:
        now += probe_delay(health, settings, 0.5, now)
        depth = probe_depth(health, now, settings)
        passed = (*STEPS, *([Step.BODY] if depth.body else []), *([Step.BLOB, Step.CDN] if depth.deep else []))
        health = observe(health, evolve(GOOD, passed=passed, deep=depth.deep, canary=FOUND), now, settings)
    assert now < 1000.0 + 2 * LONG_WINDOW


@pytest.mark.parametrize(
    "result",
    [
        Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1, passed=(Step.PING, Step.TOKEN)),
        evolve(GOOD, canary=GONE, passed=(Step.PING, Step.TOKEN)),
    ],
    ids=["no canary", "deleted canary"],
)
@pytest.mark.parametrize("step", [Step.MANIFEST, Step.BODY, Step.BLOB, Step.CDN])
def test_a_brown_out_of_a_step_that_no_probe_can_reach_ends_after_the_long_window(step: Step, result: Result) -> None:
    health, now = serve(UP, "b" * 6, 1000.0, step=step), 1001.0
    assert health.degraded is not None
    while health.degraded is not None and now < 10000.0:
        now += 10.0
        health = observe(health, result, now, SETTINGS)
    assert 1000.0 + LONG_WINDOW - 10.0 <= now <= 1000.0 + LONG_WINDOW + 20.0


def test_a_brown_out_at_the_cdn_ends_too_after_the_canary_is_another_one() -> None:
    health, now = forget_canary(serve(UP, "b" * 6, 1000.0, step=Step.CDN)), 1001.0
    assert health.degraded is not None
    while health.degraded is not None and now < 10000.0:
        now += 10.0
        assert probe_depth(health, now, SETTINGS).deep
        health = observe(health, evolve(DEEP, canary=FOUND), now, SETTINGS)
    assert now < 1000.0 + 2 * LONG_WINDOW


# recoveries


def test_the_beginning_of_a_recovery_is_known_until_the_next_failure() -> None:
    down = after(UP, [OUTAGE, OUTAGE])
    assert down.recovering_since is None
    assert after(down, [GOOD], 3.0).recovering_since == 3.0
    assert after(down, [GOOD, GOOD, GOOD], 3.0).recovering_since == 3.0
    assert after(down, [GOOD, OUTAGE], 3.0).recovering_since is None
    assert after(down, [GOOD, GOOD, OUTAGE, OUTAGE], 3.0).recovering_since is None
