"""When certificates are asked for: tables, properties, and thirty days of whatever a CA may do."""

from bisect import bisect_left
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facaded.tls.acme import schedule
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK, Failure, OrderProgress, Stage
from facaded.tls.window import Window

NOW = 1_800_000_000.0
FIRST, SECOND = "https://first.test/directory", "https://second.test/directory"
LIFE = Window(NOW, NOW + 90 * DAY)


def fail(progress: OrderProgress, stage: Stage, now: float = NOW, retry_after: float = 0) -> OrderProgress:
    return schedule.failed(progress, [Failure(FIRST, "no", stage, retry_after)], now, 0)


def waits(stage: Stage, count: int) -> list[float]:
    progress, found = OrderProgress(), []
    for _ in range(count):
        progress = fail(progress, stage)
        found.append((progress.not_before - NOW) / MINUTE)
    return found


@pytest.mark.parametrize("stage", [Stage.REFUSED, Stage.AUTHORIZING, Stage.ISSUING, Stage.MADE])
def test_waits_grow_after_a_failed_authorization_and_stay_at_six_hours(stage: Stage) -> None:
    assert waits(stage, 10) == [5, 15, 20, 30, 60, 120, 240, 360, 360, 360]


def test_a_ca_that_cannot_be_reached_is_tried_again_sooner() -> None:
    assert waits(Stage.REACHING, 15) == [1, 2, 2, 5, 10, 5, 15, 20, 30, 60, 120, 240, 360, 360, 360]


def test_one_failure_of_several_that_is_not_early_makes_the_wait_long() -> None:
    failures = [Failure(FIRST, "down", Stage.REACHING), Failure(SECOND, "no", Stage.AUTHORIZING)]
    progress = schedule.failed(OrderProgress(), failures, NOW, 0)
    assert progress.not_before == NOW + 5 * MINUTE
    assert progress.error == "down; no"


def test_a_wait_is_lengthened_at_random_and_never_shortened() -> None:
    late = schedule.failed(OrderProgress(), [Failure(FIRST, "no", Stage.AUTHORIZING)], NOW, 1)
    assert late.not_before == pytest.approx(NOW + 5.5 * MINUTE)


def test_success_begins_anew_and_keeps_what_counts_against_limits() -> None:
    progress = schedule.succeeded(fail(fail(OrderProgress(), Stage.AUTHORIZING), Stage.MADE), FIRST, NOW, extra=False)
    assert (progress.attempts, progress.error, progress.not_before) == (0, None, 0)
    assert progress.authorized == 1, "the kind of challenge that has worked"
    assert len(progress.failed[FIRST]) == 1
    assert len(progress.extras[FIRST]) == 1


@pytest.mark.parametrize(
    ("retry_after", "waited"),
    [(0, 5 * MINUTE), (10, 5 * MINUTE), (3 * HOUR, 3 * HOUR), (10 * WEEK, WEEK)],
)
def test_retry_after_is_kept_within_bounds(retry_after: float, waited: float) -> None:
    progress = fail(OrderProgress(), Stage.REFUSED, retry_after=retry_after)
    assert schedule.due(progress, 0, [FIRST], NOW) == NOW + waited


def test_another_ca_is_not_held_up_by_the_first_one_s_retry_after() -> None:
    progress = fail(OrderProgress(), Stage.REFUSED, retry_after=3 * HOUR)
    assert schedule.opens_at(progress, FIRST, NOW) == NOW + 3 * HOUR
    assert schedule.due(progress, 0, [FIRST, SECOND], NOW) == NOW + 5 * MINUTE


def test_kinds_of_challenge_alternate_by_failed_authorizations_alone() -> None:
    progress = fail(fail(fail(OrderProgress(), Stage.REACHING), Stage.AUTHORIZING), Stage.REFUSED)
    assert progress.authorized == 1


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_a_certificate_is_renewed_when_a_third_of_its_life_is_left(chance: float) -> None:
    at = schedule.renewal(LIFE, None, chance)
    assert NOW + 58.2 * DAY <= at <= NOW + 60 * DAY + 1


def test_a_certificate_of_160_hours_is_renewed_with_a_third_left_too() -> None:
    assert schedule.renewal(Window(NOW, NOW + 160 * HOUR), None, 1) == pytest.approx(NOW + 106.67 * HOUR, abs=100)


@pytest.mark.parametrize(
    ("begins", "ends", "chance", "at"),
    [
        (50, 52, 0.0, 50),
        (50, 52, 0.5, 51),
        (50, 52, 1.0, 52),
        (-3, -2, 0.5, 1.5),  # now, and yet not at once after the last
        (80, 200, 1.0, 75),  # never so late that failures could not be outlived
    ],
)
def test_a_suggested_window_is_followed_within_bounds(begins: float, ends: float, chance: float, at: float) -> None:
    suggested = Window(NOW + begins * DAY, NOW + ends * DAY)
    assert schedule.renewal(LIFE, suggested, chance) == NOW + at * DAY


def test_what_has_happened_is_not_forgotten_by_a_clock_that_is_ahead_for_a_while() -> None:
    progress = OrderProgress()
    for _ in range(5):
        progress = fail(progress, Stage.AUTHORIZING)
    progress = fail(progress, Stage.AUTHORIZING, NOW + 365 * DAY)
    assert schedule.opens_at(progress, FIRST, NOW + MINUTE) == NOW + HOUR


def test_a_wait_of_days_is_not_believed_for_no_failure_asks_for_one() -> None:
    progress = fail(OrderProgress(), Stage.AUTHORIZING, NOW + 5 * DAY)
    assert schedule.due(progress, 0, [FIRST], NOW) == 0


@given(
    st.floats(HOUR, 400 * DAY),
    st.none() | st.builds(Window, st.floats(0, 2 * NOW), st.floats(0, 2 * NOW)),
    st.floats(0, 1),
)
def test_a_renewal_is_always_within_the_life_of_its_certificate(
    length: float, suggested: Window | None, chance: float
) -> None:
    life = Window(NOW, NOW + length)
    assert life.begins < schedule.renewal(life, suggested, chance) < life.ends


@pytest.mark.parametrize(("said", "asked"), [(0, 6 * HOUR), (1, HOUR), (2 * HOUR, 2 * HOUR), (1e9, DAY)])
def test_a_ca_is_asked_again_for_its_window_within_bounds(said: float, asked: float) -> None:
    assert schedule.asked_again(said) == asked


def test_an_attempt_of_which_nothing_is_heard_is_not_repeated_at_once() -> None:
    assert schedule.due(schedule.begun(OrderProgress(), NOW), 0, [FIRST], NOW) == NOW + MINUTE


def test_a_wait_that_a_wrong_clock_has_put_into_the_far_future_is_forgotten() -> None:
    progress = schedule.begun(OrderProgress(), NOW + 365 * DAY)
    assert schedule.due(progress, 0, [FIRST], NOW) == 0


def test_an_operator_may_renew_at_once_but_not_beyond_the_limits() -> None:
    progress: OrderProgress | str = OrderProgress()
    for _ in range(schedule.EXTRAS_A_WEEK):
        assert isinstance(progress, OrderProgress)
        progress = schedule.asked_by_hand(progress, [FIRST], NOW)
        assert isinstance(progress, OrderProgress)
        assert schedule.due(progress, NOW + 60 * DAY, [FIRST], NOW) == NOW
        progress = schedule.succeeded(progress, FIRST, NOW, extra=True)
    assert isinstance(progress, OrderProgress)
    assert schedule.asked_by_hand(progress, [FIRST], NOW) == (
        "the CA's limits allow no attempt before 2027-01-22 08:00 UTC"
    )
    assert isinstance(schedule.asked_by_hand(progress, [FIRST, SECOND], NOW), OrderProgress)


def most_within(times: Sequence[float], period: float) -> int:
    """The most of these times, which are in order, that lie in one period."""
    return max((bisect_left(times, at + period) - index for index, at in enumerate(times)), default=0)


@settings(max_examples=25)
@given(
    outcomes=st.lists(st.sampled_from([*Stage, None]), min_size=1, max_size=12),
    life=st.sampled_from([160 * HOUR, 45 * DAY, 90 * DAY]),
    impatient=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_thirty_days_of_whatever_a_ca_does_stay_within_its_limits(
    outcomes: list[Stage | None], life: float, impatient: bool, seed: int
) -> None:
    """The outcomes come again and again; None is success. An impatient operator renews by hand every ten minutes."""
    # Where nothing counts against a limit, there is nothing to see in an impatient operator's half a million attempts.
    assume(not impatient or {Stage.AUTHORIZING, Stage.MADE, None} & {*outcomes})
    random = Random(seed)
    progress, held = OrderProgress(), Window(NOW - life, NOW)
    refused: list[float] = []
    made: list[float] = []
    now, attempt = NOW, 0
    while now < NOW + 30 * DAY:
        if impatient and isinstance(asked := schedule.asked_by_hand(progress, [FIRST], now), OrderProgress):
            progress = asked
        at = schedule.due(progress, schedule.renewal(held, None, random.random()), [FIRST], now)
        if at > now:
            now = min(at, now + 10 * MINUTE) if impatient else at
            continue
        outcome, attempt = outcomes[attempt % len(outcomes)], attempt + 1
        by_hand, progress = progress.by_hand, schedule.begun(progress, now)
        now += 5
        if outcome in (Stage.MADE, None):
            made.append(now)
        if outcome is None:
            progress = schedule.succeeded(progress, FIRST, now, by_hand)
            held = Window(now, now + life)
        else:
            if outcome is Stage.AUTHORIZING:
                refused.append(now)
            progress = schedule.failed(progress, [Failure(FIRST, "no", outcome)], now, random.random())
    assert most_within(refused, HOUR) <= 5
    assert most_within(made, WEEK) <= 5


@pytest.mark.parametrize(
    ("ahead", "may"), [(-1, True), (0, True), (1, False), (DAY, False), (DAY + 1, True), (30 * DAY, True)]
)
def test_a_time_to_ask_that_a_wrong_clock_has_set_is_not_waited_for(ahead: float, may: bool) -> None:
    assert schedule.may_ask(NOW + ahead, NOW) is may
