"""The health machine: its table, its waits, and what of it outlives a restart."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.health import (
    JITTER,
    LONGEST_RETRY_AFTER,
    Health,
    Result,
    Settings,
    State,
    Step,
    Verdict,
    observe,
    remembered,
    wait,
)

SETTINGS = Settings(interval=10, fast_interval=1, timeout=3, fall=2, rise=3)
GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
LIMITED = Result(Verdict.LIMITED, Step.PING, "429, asks for patience", 0.1, retry_after=30)
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
    (State.LIMITED, "glgg", State.LIMITED),
]


@pytest.mark.parametrize(("start", "results", "end"), TABLE)
def test_the_table_of_transitions(start: State, results: str, end: State) -> None:
    health = after(start, results)
    assert health.state is end
    assert health.since == (0 if end is start else len(results))


def test_what_failed_last_is_kept_when_the_backend_is_good_again() -> None:
    health = after(State.UP, "bbggg")
    assert (health.last, health.failed, health.failed_at) == (GOOD, BAD, 2)


@given(st.text("glb", max_size=60))
def test_down_needs_fall_bad_results_in_a_row_and_up_needs_rise_good_ones(results: str) -> None:
    health = after(State.UP, results)
    if health.state is State.DOWN and not results.endswith("b"):
        assert "bb" in results
    if "bb" not in results:
        assert health.state is not State.DOWN
    assert 0 <= health.streak < 3


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
        (State.UP, "s", 1),
        (State.UP, "ss", 40),
        (State.DOWN, "s", 40),
        (State.DOWN, "sg", 1),
    ],
)
def test_only_a_change_being_decided_is_watched_fast_and_a_retry_after_delays_none(
    start: State, results: str, seconds: float
) -> None:
    assert wait(after(start, results), SETTINGS, jitter=0) == seconds


def test_a_retry_after_is_honoured_within_reason() -> None:
    patient = observe(Health(State.UP, 0), evolve(LIMITED, retry_after=1e9), 1, SETTINGS)
    assert wait(patient, SETTINGS, jitter=0) == LONGEST_RETRY_AFTER


@given(st.floats(0, 1))
def test_a_wait_is_90_to_100_percent_of_the_setting(jitter: float) -> None:
    assert 10 * (1 - JITTER) <= wait(Health(State.UP, 0), SETTINGS, jitter) <= 10


def test_a_restart_believes_only_that_a_backend_was_down() -> None:
    down = after(State.UP, "bb")
    assert remembered(down) == down
    assert remembered(after(State.UP, "g")).state is State.UNKNOWN
    assert remembered(after(State.UP, "l")).state is State.UNKNOWN
