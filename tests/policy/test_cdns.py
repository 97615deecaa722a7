"""What is known of a CDN by its checks, and when it is checked again."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.cdns import Cdn, Standing
from facaded.policy.proofs import CHECK_PAUSE, LONGEST_WAIT, PATIENCE

TRUST = 2.0

NEW = Cdn()


def checked(alive: bool | None, took: float = 0.1, begun: float = 0.0) -> Cdn:
    return NEW.begin(begun).end(begun + took, alive, "" if alive else "answered 503")


@pytest.mark.parametrize(
    ("cdn", "now", "standing", "due"),
    [
        (NEW, 0, Standing.UNDECIDED, True),
        (NEW.begin(0), 0.5, Standing.UNDECIDED, False),
        (NEW.begin(0), 5, Standing.UNDECIDED, False),
        (checked(None), 0.5, Standing.UNDECIDED, False),
        (checked(None), 1.0, Standing.UNDECIDED, True),
        (checked(True), 0.1, Standing.ALIVE, False),
        (checked(True), 1.0, Standing.ALIVE, False),
        (checked(True), 1.2, Standing.ALIVE, True),
        (checked(True), 2.1, Standing.ALIVE, True),
        (checked(True), 2.2, Standing.UNDECIDED, True),
        (checked(False), 0.5, Standing.DEAD, False),
        (checked(False), 1.0, Standing.DEAD, True),
        (checked(False), 2.2, Standing.UNDECIDED, True),
        (checked(True, took=1.5), 4.5, Standing.ALIVE, True),
        (checked(True, took=1.5), 4.6, Standing.UNDECIDED, True),
        (checked(False, took=4), 11.9, Standing.DEAD, True),
        (checked(True).begin(1.2), 2.0, Standing.ALIVE, False),
        (checked(True).begin(1.2), 2.2, Standing.UNDECIDED, False),
        (checked(True).begin(2.2).end(2.3, None), 2.4, Standing.UNDECIDED, False),
    ],
)
def test_a_result_counts_for_a_while_and_is_renewed_before_that_ends(
    cdn: Cdn, now: float, standing: Standing, due: bool
) -> None:
    assert (cdn.standing(now, TRUST), cdn.is_due(now, TRUST)) == (standing, due)


def test_a_doubt_requires_a_newer_result_but_no_second_check_within_the_pause() -> None:
    cdn = checked(True)
    assert cdn.standing(0.6, TRUST, doubted=0.5) is Standing.ALIVE, "a check has just ended"
    assert not cdn.is_due(0.6, TRUST, doubted=0.5)
    assert cdn.standing(1.0, TRUST, doubted=0.5) is Standing.UNDECIDED
    assert cdn.is_due(1.0, TRUST, doubted=0.5)
    assert cdn.begin(1.0).end(1.1, True).standing(1.1, TRUST, doubted=0.5) is Standing.ALIVE


def test_a_short_trust_does_not_make_checks_more_frequent() -> None:
    assert checked(True).standing(0.9, 0.01) is Standing.ALIVE
    assert not checked(True).is_due(0.9, 0.01)


def test_requests_wait_for_the_first_second_of_a_check_only() -> None:
    assert NEW.patience(0) == 0
    assert NEW.begin(3).patience(3.25) == 0.75
    assert NEW.begin(3).patience(4.5) == 0
    assert checked(True).patience(0.5) == 0


def test_a_check_that_shows_nothing_keeps_the_last_result() -> None:
    assert checked(False).begin(1).end(1.1, None).standing(1.2, TRUST) is Standing.DEAD
    assert NEW.end(1, True) == NEW


STEPS = st.lists(
    st.tuples(st.floats(0, 3), st.sampled_from(["request", "good", "bad", "local", "doubt"])), min_size=1, max_size=60
)


@given(STEPS, st.floats(0.001, 10))
def test_no_check_begins_within_a_second_of_another_and_no_old_result_counts(
    steps: list[tuple[float, str]], trust: float
) -> None:
    cdn, now, doubted, begins = NEW, 0.0, None, list[float]()
    for pause, step in steps:
        now += pause
        if step == "request" and cdn.is_due(now, trust, doubted):
            begins.append(now)
            cdn = cdn.begin(now)
        elif step == "doubt":
            doubted = now
        elif cdn.running:
            cdn = cdn.end(now, {"good": True, "bad": False}.get(step))
        assert 0 <= cdn.patience(now) <= LONGEST_WAIT
        if cdn.standing(now, trust, doubted) is not Standing.UNDECIDED:
            assert cdn.ended is not None
            assert now - cdn.ended <= max(trust, PATIENCE * cdn.duration, CHECK_PAUSE)
    assert all(later - earlier >= CHECK_PAUSE for earlier, later in pairwise(begins))
