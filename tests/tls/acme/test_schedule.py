"""When certificates are renewed, and how long failures delay that."""

from bisect import bisect_left
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.tls.acme import schedule
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, FailureCause
from facaded.tls.window import Window

NOW = 1_800_000_000.0
VALIDITY = Window(NOW, NOW + 90 * DAY)


def most_within(times: Sequence[float], period: float) -> int:
    """Return the largest number of these times, which are in order, within any one period."""
    return max((bisect_left(times, at + period) - index for index, at in enumerate(times)), default=0)


def waits(cause: FailureCause, count: int) -> list[float]:
    return [schedule.retry_wait(cause, number, 0) / MINUTE for number in range(1, count + 1)]


@pytest.mark.parametrize("cause", [FailureCause.REFUSED, FailureCause.UNVALIDATED])
def test_waits_grow_after_each_refusal_and_stay_at_six_hours(cause: FailureCause) -> None:
    assert waits(cause, 10) == [10, 20, 30, 30, 60, 120, 240, 360, 360, 360]


def test_an_unavailable_ca_is_retried_sooner() -> None:
    assert waits(FailureCause.UNAVAILABLE, 10) == [1, 2, 2, 5, 10, 15, 30, 60, 60, 60]


def test_a_ca_that_issues_unusable_certificates_is_asked_five_times_in_the_first_week() -> None:
    starts = [sum(waits(FailureCause.UNUSABLE, count)) for count in range(8)]
    assert [minutes for minutes in starts if minutes < 7 * 24 * 60] == [0, 60, 25 * 60, 73 * 60, 145 * 60]


def test_jitter_makes_a_wait_longer_and_never_shorter() -> None:
    assert schedule.retry_wait(FailureCause.REFUSED, 1, 1) == pytest.approx(11 * MINUTE)


@pytest.mark.parametrize(
    ("validity", "at", "longest"),
    [
        (90 * DAY, 60 * DAY, 7.5 * DAY),
        (DAY, 16 * HOUR, 2 * HOUR),
        (6 * HOUR, 4 * HOUR, 30 * MINUTE),
        (6 * HOUR, 6 * HOUR - 40 * MINUTE, 10 * MINUTE),
        (6 * HOUR, 6 * HOUR - 1, MINUTE),
        (6 * HOUR, 6 * HOUR, 7.5 * MINUTE),
        (90 * DAY, 100 * DAY, 1.875 * DAY),
    ],
)
def test_a_wait_is_at_most_a_quarter_of_the_remaining_life(validity: float, at: float, longest: float) -> None:
    assert schedule.longest_wait(Window(NOW, NOW + validity), NOW + at) == pytest.approx(longest)


@pytest.mark.parametrize(
    ("validity", "at", "patience"),
    [
        (90 * DAY, 60 * DAY, DAY),
        (DAY, 16 * HOUR, 2 * HOUR),
        (6 * HOUR, 6 * HOUR - 30 * MINUTE, 10 * MINUTE),
        (None, 0, HOUR),
    ],
)
def test_an_order_that_does_not_finish_is_replaced(validity: float | None, at: float, patience: float) -> None:
    window = None if validity is None else Window(NOW, NOW + validity)
    assert schedule.patience(window, NOW + at) == pytest.approx(patience)


@given(st.floats(6 * HOUR, 90 * DAY), st.floats(0, 1))
def test_three_attempts_fit_into_a_tenth_of_the_validity(validity: float, passed: float) -> None:
    """Whenever the CA is up for so long between the due renewal and the expiry, an attempt falls into that time."""
    window = Window(NOW, NOW + validity)
    up_from = window.end - validity / 3 * (1 - passed)
    if up_from + validity / 10 > window.end:
        return
    last_attempt_before = up_from - 1
    assert last_attempt_before + schedule.longest_wait(window, last_attempt_before) < up_from + validity / 10


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_a_certificate_is_renewed_when_a_third_of_its_validity_is_left(chance: float) -> None:
    at = schedule.renewal_time(VALIDITY, None, chance)
    assert NOW + 58.2 * DAY <= at <= NOW + 60 * DAY + 1


def test_a_certificate_valid_for_160_hours_is_also_renewed_with_a_third_left() -> None:
    assert schedule.renewal_time(Window(NOW, NOW + 160 * HOUR), None, 1) == pytest.approx(NOW + 106.67 * HOUR, abs=100)


def test_a_certificate_that_was_old_when_it_was_issued_is_used_for_half_of_the_rest() -> None:
    day = Window(NOW, NOW + DAY)
    assert schedule.renewal_time(day, None, 1, NOW + 20 * HOUR) == NOW + 22 * HOUR
    assert schedule.renewal_time(day, Window(NOW, NOW + HOUR), 1, NOW + 20 * HOUR) == NOW + 22 * HOUR


@pytest.mark.parametrize("obtained", [NOW - DAY, NOW + 100 * DAY])
def test_a_wrong_time_of_issuance_is_ignored(obtained: float) -> None:
    assert schedule.renewal_time(VALIDITY, None, 1, obtained) == pytest.approx(NOW + 60 * DAY)


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


@given(
    st.floats(HOUR, 400 * DAY),
    st.none() | st.builds(Window, st.floats(0, 2 * NOW), st.floats(0, 2 * NOW)),
    st.floats(0, 1),
    st.none() | st.floats(0, 2 * NOW),
)
def test_a_renewal_is_always_within_the_validity_of_its_certificate(
    length: float, suggested: Window | None, chance: float, obtained: float | None
) -> None:
    validity = Window(NOW, NOW + length)
    assert validity.start < schedule.renewal_time(validity, suggested, chance, obtained) <= validity.end


@pytest.mark.parametrize(
    ("retry_after", "validity", "interval"),
    [
        (0, 90 * DAY, 6 * HOUR),
        (0, DAY, HOUR),
        (0, 6 * HOUR, 15 * MINUTE),
        (1, 90 * DAY, HOUR),
        (2 * HOUR, 90 * DAY, 2 * HOUR),
        (1e9, 90 * DAY, DAY),
    ],
)
def test_the_retry_after_of_renewal_information_is_followed_within_bounds(
    retry_after: float, validity: float, interval: float
) -> None:
    assert schedule.information_interval(retry_after, validity) == interval


@pytest.mark.parametrize(
    ("ahead", "is_due"), [(-1, True), (0, True), (1, False), (DAY, False), (DAY + 1, True), (30 * DAY, True)]
)
def test_a_request_that_a_wrong_clock_scheduled_far_ahead_is_due(ahead: float, is_due: bool) -> None:
    assert schedule.is_information_due(NOW + ahead, NOW) is is_due
