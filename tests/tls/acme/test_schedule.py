"""When certificates are ordered: tables, properties, and thirty days of arbitrary outcomes at a CA."""

from bisect import bisect_left
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from facaded.tls.acme import schedule
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK, OrderFailure, OrderProgress, OrderStage
from facaded.tls.window import Window

NOW = 1_800_000_000.0
FIRST, SECOND = "https://first.test/directory", "https://second.test/directory"
VALIDITY = Window(NOW, NOW + 90 * DAY)


def fail(progress: OrderProgress, stage: OrderStage, now: float = NOW, retry_after: float = 0) -> OrderProgress:
    return schedule.fail(progress, [OrderFailure(FIRST, "no", stage, retry_after)], now, 0)


def waits(stage: OrderStage, count: int) -> list[float]:
    progress, minutes = OrderProgress(), []
    for _ in range(count):
        progress = fail(progress, stage)
        minutes.append((progress.not_before - NOW) / MINUTE)
    return minutes


@pytest.mark.parametrize("stage", [OrderStage.REFUSED, OrderStage.AUTHORIZING, OrderStage.ISSUING, OrderStage.ISSUED])
def test_waits_grow_after_a_failed_authorization_and_stay_at_six_hours(stage: OrderStage) -> None:
    assert waits(stage, 10) == [5, 15, 20, 30, 60, 120, 240, 360, 360, 360]


def test_an_unavailable_ca_is_retried_sooner() -> None:
    assert waits(OrderStage.CONNECTING, 15) == [1, 2, 2, 5, 10, 5, 15, 20, 30, 60, 120, 240, 360, 360, 360]


def test_one_late_failure_among_several_makes_the_wait_long() -> None:
    failures = [OrderFailure(FIRST, "down", OrderStage.CONNECTING), OrderFailure(SECOND, "no", OrderStage.AUTHORIZING)]
    progress = schedule.fail(OrderProgress(), failures, NOW, 0)
    assert progress.not_before == NOW + 5 * MINUTE
    assert progress.error == "down; no"


def test_jitter_makes_a_wait_longer_and_never_shorter() -> None:
    progress = schedule.fail(OrderProgress(), [OrderFailure(FIRST, "no", OrderStage.AUTHORIZING)], NOW, 1)
    assert progress.not_before == pytest.approx(NOW + 5.5 * MINUTE)


def test_success_resets_the_waits_and_keeps_what_counts_against_limits() -> None:
    progress = schedule.succeed(
        fail(fail(OrderProgress(), OrderStage.AUTHORIZING), OrderStage.ISSUED), FIRST, NOW, extra=False
    )
    assert (progress.attempts, progress.error, progress.not_before) == (0, None, 0)
    assert progress.authorized == 1, "the kind of challenge that worked"
    assert len(progress.failed[FIRST]) == 1
    assert len(progress.extras[FIRST]) == 1


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(0, 5 * MINUTE), (10, 5 * MINUTE), (3 * HOUR, 3 * HOUR), (10 * WEEK, WEEK)],
)
def test_retry_after_is_followed_within_bounds(retry_after: float, wait: float) -> None:
    progress = fail(OrderProgress(), OrderStage.REFUSED, retry_after=retry_after)
    assert schedule.due_time(progress, 0, [FIRST], NOW) == NOW + wait


def test_the_retry_after_of_one_ca_does_not_delay_another() -> None:
    progress = fail(OrderProgress(), OrderStage.REFUSED, retry_after=3 * HOUR)
    assert schedule.available_at(progress, FIRST, NOW) == NOW + 3 * HOUR
    assert schedule.due_time(progress, 0, [FIRST, SECOND], NOW) == NOW + 5 * MINUTE


def test_only_failed_authorizations_alternate_the_kind_of_challenge() -> None:
    progress = fail(fail(fail(OrderProgress(), OrderStage.CONNECTING), OrderStage.AUTHORIZING), OrderStage.REFUSED)
    assert progress.authorized == 1


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_a_certificate_is_renewed_when_a_third_of_its_validity_is_left(chance: float) -> None:
    at = schedule.renewal_time(VALIDITY, None, chance)
    assert NOW + 58.2 * DAY <= at <= NOW + 60 * DAY + 1


def test_a_certificate_valid_for_160_hours_is_also_renewed_with_a_third_left() -> None:
    assert schedule.renewal_time(Window(NOW, NOW + 160 * HOUR), None, 1) == pytest.approx(NOW + 106.67 * HOUR, abs=100)


@pytest.mark.parametrize(
    ("start", "end", "chance", "renewal"),
    [
        (50, 52, 0.0, 50),
        (50, 52, 0.5, 51),
        (50, 52, 1.0, 52),
        (-3, -2, 0.5, 1.5),  # now, but not immediately after the last renewal
        (80, 200, 1.0, 75),  # never so late that there is no time left to retry
    ],
)
def test_a_suggested_window_is_followed_within_bounds(start: float, end: float, chance: float, renewal: float) -> None:
    suggested = Window(NOW + start * DAY, NOW + end * DAY)
    assert schedule.renewal_time(VALIDITY, suggested, chance) == NOW + renewal * DAY


def test_a_clock_that_is_ahead_for_a_while_does_not_drop_events() -> None:
    progress = OrderProgress()
    for _ in range(5):
        progress = fail(progress, OrderStage.AUTHORIZING)
    progress = fail(progress, OrderStage.AUTHORIZING, NOW + 365 * DAY)
    assert schedule.available_at(progress, FIRST, NOW + MINUTE) == NOW + HOUR


def test_a_wait_of_days_is_ignored_because_no_failure_causes_one() -> None:
    progress = fail(OrderProgress(), OrderStage.AUTHORIZING, NOW + 5 * DAY)
    assert schedule.due_time(progress, 0, [FIRST], NOW) == 0


@given(
    st.floats(HOUR, 400 * DAY),
    st.none() | st.builds(Window, st.floats(0, 2 * NOW), st.floats(0, 2 * NOW)),
    st.floats(0, 1),
)
def test_a_renewal_is_always_within_the_validity_of_its_certificate(
    length: float, suggested: Window | None, chance: float
) -> None:
    validity = Window(NOW, NOW + length)
    assert validity.start < schedule.renewal_time(validity, suggested, chance) < validity.end


@pytest.mark.parametrize(("retry_after", "interval"), [(0, 6 * HOUR), (1, HOUR), (2 * HOUR, 2 * HOUR), (1e9, DAY)])
def test_the_retry_after_of_renewal_information_is_followed_within_bounds(retry_after: float, interval: float) -> None:
    assert schedule.information_interval(retry_after) == interval


def test_an_attempt_that_did_not_finish_is_not_repeated_immediately() -> None:
    assert schedule.due_time(schedule.begin(OrderProgress(), NOW), 0, [FIRST], NOW) == NOW + MINUTE


def test_a_wait_that_a_wrong_clock_set_far_in_the_future_is_ignored() -> None:
    progress = schedule.begin(OrderProgress(), NOW + 365 * DAY)
    assert schedule.due_time(progress, 0, [FIRST], NOW) == 0


def test_an_operator_may_renew_at_once_but_not_beyond_the_limits() -> None:
    progress: OrderProgress | str = OrderProgress()
    for _ in range(schedule.EXTRAS_A_WEEK):
        assert isinstance(progress, OrderProgress)
        progress = schedule.request_renewal(progress, [FIRST], NOW)
        assert isinstance(progress, OrderProgress)
        assert schedule.due_time(progress, NOW + 60 * DAY, [FIRST], NOW) == NOW
        progress = schedule.succeed(progress, FIRST, NOW, extra=True)
    assert isinstance(progress, OrderProgress)
    assert schedule.request_renewal(progress, [FIRST], NOW) == (
        "the CA's limits allow no attempt before 2027-01-22 08:00 UTC"
    )
    assert isinstance(schedule.request_renewal(progress, [FIRST, SECOND], NOW), OrderProgress)


def most_within(times: Sequence[float], period: float) -> int:
    """Return the largest number of these times, which are in order, within any one period."""
    return max((bisect_left(times, at + period) - index for index, at in enumerate(times)), default=0)


@settings(max_examples=25)
@given(
    outcomes=st.lists(st.sampled_from([*OrderStage, None]), min_size=1, max_size=12),
    validity=st.sampled_from([160 * HOUR, 45 * DAY, 90 * DAY]),
    impatient=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_thirty_days_of_arbitrary_outcomes_stay_within_the_limits(
    outcomes: list[OrderStage | None], validity: float, impatient: bool, seed: int
) -> None:
    """The outcomes repeat; None is a success. An impatient operator requests a renewal every ten minutes."""
    # If no outcome counts against a limit, an impatient operator makes half a million attempts that test nothing.
    assume(not impatient or {OrderStage.AUTHORIZING, OrderStage.ISSUED, None} & {*outcomes})
    random = Random(seed)
    progress, current = OrderProgress(), Window(NOW - validity, NOW)
    refused: list[float] = []
    issued: list[float] = []
    now, attempt = NOW, 0
    while now < NOW + 30 * DAY:
        if impatient and isinstance(requested := schedule.request_renewal(progress, [FIRST], now), OrderProgress):
            progress = requested
        at = schedule.due_time(progress, schedule.renewal_time(current, None, random.random()), [FIRST], now)
        if at > now:
            now = min(at, now + 10 * MINUTE) if impatient else at
            continue
        outcome, attempt = outcomes[attempt % len(outcomes)], attempt + 1
        by_hand, progress = progress.by_hand, schedule.begin(progress, now)
        now += 5
        if outcome in (OrderStage.ISSUED, None):
            issued.append(now)
        if outcome is None:
            progress = schedule.succeed(progress, FIRST, now, by_hand)
            current = Window(now, now + validity)
        else:
            if outcome is OrderStage.AUTHORIZING:
                refused.append(now)
            progress = schedule.fail(progress, [OrderFailure(FIRST, "no", outcome)], now, random.random())
    assert most_within(refused, HOUR) <= 5
    assert most_within(issued, WEEK) <= 5


@pytest.mark.parametrize(
    ("ahead", "is_due"), [(-1, True), (0, True), (1, False), (DAY, False), (DAY + 1, True), (30 * DAY, True)]
)
def test_a_request_that_a_wrong_clock_scheduled_far_ahead_is_due(ahead: float, is_due: bool) -> None:
    assert schedule.is_information_due(NOW + ahead, NOW) is is_due
