"""The health state machine: its transitions, its delays, and what survives a restart."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.health import (
    LONGEST_FAILBACK,
    LONGEST_RETRY_AFTER,
    MOST_RELAPSES,
    RELAPSE_TIME,
    Canary,
    Damping,
    Health,
    ProbeDepth,
    Result,
    Settings,
    State,
    Step,
    Verdict,
    find_drifts,
    judge_refusal,
    restore,
)
from facaded.policy.probe_schedule import JITTER, probe_delay, probe_depth
from facaded.policy.samples import SHORT_WINDOW
from facaded.policy.transitions import observe

SETTINGS = Settings(interval=10, fast_interval=1, timeout=3, fall=2, rise=3)
GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
LIMITED = Result(Verdict.LIMITED, Step.PING, "rate-limited (429), retry in 30 s", 0.1, retry_after=30)
BAD = Result(Verdict.BAD, Step.PING, "connection refused", 0.1)
STALLING = Result(Verdict.BAD, Step.PING, "answered 503", 0.1, retry_after=40)
LETTERS = {"g": GOOD, "l": LIMITED, "b": BAD, "s": STALLING}


def after(start: State, results: str) -> Health:
    health = Health(start, since=0)
    for second, letter in enumerate(results, start=1):
        health = observe(health, LETTERS[letter], second, SETTINGS)
    return health


TABLE = [
    (State.UNKNOWN, "g", State.UP),
    (State.UNKNOWN, "b", State.DOWN),
    (State.UNKNOWN, "l", State.LIMITED),
    (State.UP, "b", State.UP),
    (State.UP, "bb", State.DOWN),
    (State.UP, "bgb", State.UP),
    (State.UP, "bgbgbgb", State.UP),
    (State.UP, "l", State.LIMITED),
    (State.UP, "bl", State.LIMITED),
    (State.DOWN, "gg", State.DOWN),
    (State.DOWN, "ggg", State.UP),
    (State.DOWN, "ggbgg", State.DOWN),
    (State.DOWN, "ggl", State.LIMITED),
    (State.DOWN, "llg", State.UP),
    (State.DOWN, "bbb", State.DOWN),
    (State.LIMITED, "ll", State.LIMITED),
    (State.LIMITED, "gg", State.LIMITED),
    (State.LIMITED, "ggg", State.UP),
    (State.LIMITED, "gbg", State.LIMITED),
    (State.LIMITED, "bb", State.DOWN),
    (State.LIMITED, "blb", State.DOWN),
    (State.LIMITED, "lblb", State.DOWN),
    (State.UP, "blb", State.DOWN),
    (State.UP, "blgbgb", State.LIMITED),
    (State.DOWN, "lblblb", State.DOWN),
    (State.LIMITED, "glgg", State.LIMITED),
]


@pytest.mark.parametrize(("start", "results", "end"), TABLE)
def test_the_table_of_transitions(start: State, results: str, end: State) -> None:
    health = after(start, results)
    assert health.state is end
    if end is start:
        assert health.since == 0


def test_the_last_failure_is_kept_when_the_backend_is_up_again() -> None:
    health = after(State.UP, "bbggg")
    assert (health.last, health.failed, health.failed_at) == (GOOD, BAD, 2)


@given(st.text("glb", max_size=60))
def test_down_needs_fall_bad_results_in_a_row_and_up_needs_rise_good_ones(results: str) -> None:
    health = after(State.UP, results)
    if "bb" not in results.replace("l", ""):
        assert health.state is not State.DOWN
    assert 0 <= health.bads < 2
    assert 0 <= health.goods < 3


@pytest.mark.parametrize(
    ("start", "results", "seconds"),
    [
        (State.UP, "g", 10),
        (State.UP, "b", 1),
        (State.UP, "bb", 10),
        (State.DOWN, "b", 10),
        (State.DOWN, "g", 1),
        (State.DOWN, "ggg", 10),
        (State.UP, "l", 30),
        (State.UP, "s", 40),
        (State.UP, "ss", 40),
        (State.DOWN, "s", 40),
        (State.DOWN, "sg", 39),
    ],
)
def test_probes_are_fast_only_while_a_change_is_pending_and_no_retry_after_is_still_to_end(
    start: State, results: str, seconds: float
) -> None:
    assert probe_delay(after(start, results), SETTINGS, 0, now=len(results)) == seconds


def test_a_retry_after_is_honoured_up_to_a_limit() -> None:
    limited = observe(Health(State.UP, 0), evolve(LIMITED, retry_after=1e9), 1, SETTINGS)
    assert probe_delay(limited, SETTINGS, 0, now=1) == LONGEST_RETRY_AFTER


@given(st.floats(0, 1))
def test_a_delay_is_90_to_100_percent_of_the_setting(jitter: float) -> None:
    assert 10 * (1 - JITTER) <= probe_delay(Health(State.UP, 0), SETTINGS, jitter, now=1) <= 10


def test_only_the_state_down_survives_a_restart() -> None:
    down = after(State.UP, "bb")
    assert restore(down) == down
    assert restore(after(State.UP, "g")).state is State.UNKNOWN
    assert restore(after(State.UP, "l")).state is State.UNKNOWN


@pytest.mark.parametrize(("requests", "seconds"), [(1, 10), (3, 10), (6, 20)])
def test_a_backend_that_is_down_or_limited_gets_no_more_requests_than_any_other(requests: int, seconds: float) -> None:
    for state, result in ((State.DOWN, BAD), (State.LIMITED, evolve(LIMITED, retry_after=0))):
        health = observe(Health(state, 0), evolve(result, requests=requests), 1, SETTINGS)
        assert probe_delay(health, SETTINGS, 0, now=1) == seconds
    assert probe_delay(observe(Health(State.UP, 0), evolve(GOOD, requests=6), 1, SETTINGS), SETTINGS, 0, now=1) == 10


DEEP = evolve(GOOD, step=Step.BLOB, deep=True)
DEAD_CDN = evolve(BAD, step=Step.BLOB, deep=True)


def test_a_probe_includes_the_blob_every_deep_interval_except_the_first_which_requests_wait_for() -> None:
    health = Health(State.UNKNOWN, 0)
    assert not probe_depth(health, 0, SETTINGS).deep
    health = observe(health, GOOD, 1, SETTINGS)
    assert probe_depth(health, 11, SETTINGS).deep
    health = observe(health, DEEP, 11, SETTINGS)
    assert not probe_depth(health, 11 + SETTINGS.deep_interval - 0.1, SETTINGS).deep
    assert probe_depth(health, 11 + SETTINGS.deep_interval, SETTINGS).deep


def test_after_the_blob_has_failed_every_probe_includes_it_until_the_backend_is_up_again() -> None:
    health = observe(Health(State.UP, 0, deep_at=0), DEAD_CDN, 1, SETTINGS)
    assert probe_depth(health, 2, SETTINGS).deep
    recovered = observe(health, DEEP, 2, SETTINGS)
    assert probe_depth(recovered, 3, SETTINGS).deep, "a blob failed within the short window"
    recovered = evolve(recovered, deep_at=SHORT_WINDOW)
    assert not probe_depth(recovered, 2 * SHORT_WINDOW - 1, SETTINGS).deep
    for second, result in enumerate((DEAD_CDN, BAD, DEEP, BAD, DEEP, DEEP), start=2):
        health = observe(health, result, second, SETTINGS)
        assert probe_depth(health, second, SETTINGS).deep
    assert health.state is State.DOWN
    assert not probe_depth(observe(health, DEEP, 8, SETTINGS), 9, SETTINGS).deep


def test_probes_go_on_including_the_blob_after_a_restart_during_a_cdn_outage() -> None:
    down = observe(observe(Health(State.UP, 0), DEAD_CDN, 1, SETTINGS), DEAD_CDN, 2, SETTINGS)
    assert probe_depth(restore(down), 3, SETTINGS).deep


FOUND = Canary(True, "sha256:" + "a" * 64)
GONE = Canary(False, "", "answered 404 for the canary")


def test_it_is_remembered_that_a_backend_has_had_the_canary() -> None:
    health = observe(Health(State.UP, 0), evolve(GOOD, canary=GONE), 1, SETTINGS)
    assert probe_depth(health, 2, SETTINGS) == ProbeDepth(deep=True, canary_seen=False, confirm=True)
    health = observe(health, evolve(GOOD, canary=FOUND), 2, SETTINGS)
    health = observe(health, evolve(GOOD, canary=GONE), 3, SETTINGS)
    assert probe_depth(health, 4, SETTINGS).canary_seen
    assert health.canary == GONE
    assert observe(health, BAD, 5, SETTINGS).canary == GONE, "a probe that does not reach it changes nothing"


def test_a_digest_stays_known_when_the_backend_omits_it() -> None:
    health = observe(Health(State.UP, 0), evolve(GOOD, canary=FOUND), 1, SETTINGS)
    assert observe(health, evolve(GOOD, canary=Canary(True)), 2, SETTINGS).canary == FOUND


def test_a_canary_drifts_if_it_is_faulty_or_differs_from_that_of_the_first_backend() -> None:
    other = Canary(True, "sha256:" + "b" * 64)

    def healths(*canaries: Canary | None) -> dict[str, Health]:
        return {name: Health(State.UP, 0, canary=canary) for name, canary in zip("abc", canaries, strict=True)}

    images = dict.fromkeys("abc", "org/app:latest")
    assert find_drifts(healths(FOUND, FOUND, Canary(True)), images) == {}
    assert find_drifts(healths(None, FOUND, FOUND), images) == {}
    differs = "its canary is sha256:bbbbbbbbbbbb, but a has sha256:aaaaaaaaaaaa"
    assert find_drifts(healths(FOUND, other, GONE), images) == {"b": differs, "c": GONE.drift}
    assert find_drifts(healths(FOUND, other, FOUND), images | {"b": "org/other:latest"}) == {}
    assert find_drifts(healths(FOUND, FOUND, evolve(FOUND, drift="a blob of the canary is not there")), images) == {
        "c": "a blob of the canary is not there"
    }


def relapse(health: Health, up_for: float) -> Health:
    """Return the health after the backend was up for some seconds and then went down again."""
    back = health.since + 1
    health = evolve(health, state=State.DOWN, goods=SETTINGS.rise - 1)
    health = observe(health, GOOD, back, SETTINGS)
    health = evolve(health, bads=SETTINGS.fall - 1)
    return observe(health, BAD, back + up_for, SETTINGS)


def test_each_relapse_doubles_the_wait_for_a_failback_up_to_half_an_hour() -> None:
    health = observe(Health(State.UP, 0, bads=1), BAD, 5, SETTINGS)
    waits = []
    for _ in range(MOST_RELAPSES + 5):
        waits.append(health.failback_after(60))
        health = relapse(health, 30)
    assert waits[:7] == [60, 120, 240, 480, 960, 1800, 1800]
    assert waits[-1] == LONGEST_FAILBACK
    assert health.damping.relapses == MOST_RELAPSES
    assert health.failback_after(7200) == 7200


def test_going_down_is_a_relapse_until_ten_minutes_after_the_backend_could_be_active_again() -> None:
    down = Health(State.DOWN, 0, damping=Damping(relapses=2))
    soon = SETTINGS.failback_after * 4 + RELAPSE_TIME
    assert relapse(down, soon - 1).damping.relapses == 3
    assert relapse(down, soon + 1).damping.relapses == 0


def test_relapses_are_reset_after_the_backend_has_been_up_for_long() -> None:
    health = Health(State.UP, 0, damping=Damping(0.0, 2))
    soon = SETTINGS.failback_after * 4 + RELAPSE_TIME
    assert observe(health, GOOD, soon - 1, SETTINGS).damping.relapses == 2
    assert observe(health, GOOD, soon, SETTINGS).damping.relapses == 0


@pytest.mark.parametrize(
    ("state", "result", "seconds"),
    [
        (State.DOWN, evolve(LIMITED, retry_after=30), 30),
        (State.LIMITED, STALLING, 40),
        (State.LIMITED, evolve(BAD, retry_after=0), 1),
        (State.LIMITED, GOOD, 10),
        (State.DOWN, GOOD, 1),
    ],
)
def test_a_retry_after_is_honoured_by_a_backend_that_is_down_or_limited(
    state: State, result: Result, seconds: float
) -> None:
    assert probe_delay(observe(Health(state, 0), result, 1, SETTINGS), SETTINGS, 0, now=1) == seconds


def test_the_first_outage_after_a_start_is_no_relapse() -> None:
    assert observe(observe(Health(State.UNKNOWN, 0), GOOD, 1, SETTINGS), BAD, 2, SETTINGS).damping.relapses == 0


@pytest.mark.parametrize(
    ("step", "status", "verdict"),
    [
        *((step, status, Verdict.BAD) for step in Step for status in (400, 401, 403, 307)),
        (Step.MANIFEST, 404, Verdict.GOOD),
        *((step, 404, Verdict.BAD) for step in (Step.TOKEN, Step.BODY, Step.BLOB)),
    ],
)
def test_a_canary_that_is_refused_is_drift_unless_the_backend_has_had_it(
    step: Step, status: int, verdict: Verdict
) -> None:
    assert judge_refusal(step, status, canary_seen=False) is Verdict.GOOD
    assert judge_refusal(step, status, canary_seen=True) is verdict
