"""Who gets the last pulls that a registry allows this machine."""

import pytest

from facaded.policy.health import Quota
from facaded.policy.quota_reserve import DEFAULT_WINDOW, LONGEST_WINDOW, allows_pull, is_low, share, window


@pytest.mark.parametrize(
    ("remaining", "limit", "percent", "low"),
    [
        (26, 100, 25, False),
        (25, 100, 25, True),
        (0, 100, 25, True),
        (-3, 100, 25, True),
        (0, 100, 0, False),
        (0, None, 25, False),
        (90, 100, 90, True),
    ],
)
def test_the_reserve_is_a_percentage_of_the_limit(remaining: int, limit: int | None, percent: int, low: bool) -> None:
    assert is_low(Quota(remaining, limit, 21600), percent) is low


@pytest.mark.parametrize(("limit", "percent", "pulls"), [(100, 25, 2), (1000, 25, 25), (10, 25, 2), (200, 50, 10)])
def test_a_share_is_a_tenth_of_the_reserve_but_enough_for_an_image(limit: int, percent: int, pulls: int) -> None:
    assert share(limit, percent) == pulls


@pytest.mark.parametrize(
    ("remaining", "limit", "used", "allowed"),
    [(26, 100, 99, True), (25, 100, 1, True), (25, 100, 2, False), (25, None, 99, True)],
)
def test_the_reserve_is_for_sources_that_had_less_than_their_share(
    remaining: int, limit: int | None, used: int, allowed: bool
) -> None:
    assert allows_pull(Quota(remaining, limit, 21600), 25, used) is allowed


def test_pulls_count_for_the_registrys_window() -> None:
    assert window(Quota(1, 2, 60)) == 60
    assert window(Quota(1, 2)) == DEFAULT_WINDOW
    assert window(Quota(1, 2, 999_999_999)) == LONGEST_WINDOW
