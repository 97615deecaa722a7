"""Reasons: what is said of a backend's state, and the numbers behind it."""

import pytest
from attrs import evolve

from facaded.policy.health import Confirmations, Degradation, Health, Result, State, Step, Verdict
from facaded.policy.reasons import cause, condition, describe, explain_health, spell
from facaded.policy.samples import Count, Samples

FAILED = Result(Verdict.BAD, Step.MANIFEST, "answered 500", 0.1)
CONFIRMED = evolve(FAILED, confirmations=Confirmations(5, 4))
BROWN_OUT = Degradation(50.0, Step.CDN, Count(12, 9, 60.0))
NO_SAMPLES: Samples[Step] = Samples()


@pytest.mark.parametrize(
    ("health", "sentence"),
    [
        (Health(State.UP, 0.0), "hub is up"),
        (Health(State.UP, 0.0, failed=FAILED), "hub is up"),
        (Health(State.UNKNOWN, 0.0, failed=FAILED), "hub is unknown"),
        (Health(State.DOWN, 0.0), "hub is down"),
        (Health(State.DOWN, 0.0, failed=FAILED), "hub is down (manifest: answered 500)"),
        (
            Health(State.DOWN, 0.0, failed=CONFIRMED),
            "hub is down (manifest: answered 500; 4 of 5 confirming requests failed)",
        ),
        (Health(State.LIMITED, 0.0, failed=FAILED), "hub is limited (manifest: answered 500)"),
        (Health(State.UP, 0.0, degraded=BROWN_OUT), "hub is degraded (CDN: 9 of 12 requests failed in 60 s)"),
        (
            Health(State.LIMITED, 0.0, degraded=BROWN_OUT, failed=FAILED),
            "hub is limited (manifest: answered 500)",
        ),
    ],
)
def test_a_state_is_described_with_its_cause(health: Health, sentence: str) -> None:
    assert describe("hub", health) == sentence
    assert sentence == f"hub is {condition(health)}{cause(health)}"


@pytest.mark.parametrize(
    ("samples", "numbers"),
    [
        (NO_SAMPLES, ""),
        (NO_SAMPLES.add(Step.PING, 95.0, 3).add(Step.CDN, 95.0, 4), ": none of 7 requests failed in 10 min"),
        (
            NO_SAMPLES.add(Step.PING, 95.0, 3, 1).add(Step.TOKEN, 95.0, 2).add(Step.CDN, 95.0, 4, 2),
            ": 1 of 3 at GET /v2/, 2 of 4 at CDN failed in 10 min",
        ),
    ],
)
def test_a_sentence_has_the_numbers_behind_a_state_if_there_are_any(samples: Samples[Step], numbers: str) -> None:
    assert explain_health("hub", Health(State.UP, 20.0, samples=samples), 100.0) == f"hub has been up for 80 s{numbers}"


def test_a_brown_out_is_as_old_as_itself_and_not_as_the_state() -> None:
    health = Health(State.UP, 20.0, degraded=BROWN_OUT)
    cause_words = "(CDN: 9 of 12 requests failed in 60 s)"
    assert explain_health("hub", health, 100.0) == f"hub has been degraded for 50 s {cause_words}"
    limited = evolve(health, state=State.LIMITED)
    assert explain_health("hub", limited, 100.0) == "hub has been limited for 80 s"


@pytest.mark.parametrize(
    ("seconds", "duration"),
    [(-1, "0 s"), (0, "0 s"), (59.6, "60 s"), (100, "2 min"), (3570, "1 h"), (7500, "2 h 5 min"), (90000, "25 h")],
)
def test_a_duration_is_written_for_a_person(seconds: float, duration: str) -> None:
    assert spell(seconds) == duration
