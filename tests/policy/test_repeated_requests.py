"""RepeatedRequests: when a request that was redirected comes again."""

import pytest

from facaded.policy.repeated_requests import REMEMBERED, REPEAT_TIME, RepeatedRequests

ASKED = ("192.0.2.7", "GET", "https://hub.test/v2/org/app/manifests/latest")


@pytest.mark.parametrize(
    ("again", "seconds", "is_hint"),
    [
        (ASKED, REPEAT_TIME - 0.1, True),
        (ASKED, REPEAT_TIME, False),
        (("192.0.2.8", *ASKED[1:]), 1, False),
        ((ASKED[0], "HEAD", ASKED[2]), 1, False),
        ((*ASKED[:2], "https://hub.test/v2/org/app/manifests/other"), 1, False),
    ],
)
def test_the_same_request_of_the_same_client_within_ten_seconds_is_a_hint(
    again: tuple[str, str, str], seconds: float, is_hint: bool
) -> None:
    hints = RepeatedRequests()
    assert not hints.repeated(*ASKED, now=100)
    assert hints.repeated(*again, now=100 + seconds) == is_hint


def test_a_client_that_asks_twice_when_all_is_well_gives_a_hint_with_the_third() -> None:
    hints = RepeatedRequests()
    assert [hints.repeated(*ASKED, now=100 + second, usual=2) for second in range(4)] == [False, False, True, True]
    assert not hints.repeated(*ASKED, now=200, usual=2)


def test_of_too_many_redirects_the_oldest_are_forgotten() -> None:
    hints = RepeatedRequests()
    hints.repeated(*ASKED, now=100)
    for number in range(REMEMBERED):
        hints.repeated(str(number), "GET", "/", now=100)
    assert not hints.repeated(*ASKED, now=100)
    assert hints.repeated(str(REMEMBERED - 1), "GET", "/", now=100)
