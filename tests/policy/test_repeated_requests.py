"""Repeated requests: which request after a redirect counts as a repetition."""

import pytest

from facaded.policy.repeated_requests import REDIRECTS, REPEAT_TIME, RETRY_PAUSE, RepeatedRequests

REQUEST = ("192.0.2.7", "GET", "https://hub.test/v2/org/app/manifests/latest")


@pytest.mark.parametrize(
    ("request_", "seconds", "repeated"),
    [
        (REQUEST, REPEAT_TIME - 0.1, True),
        (REQUEST, REPEAT_TIME, False),
        (("192.0.2.8", *REQUEST[1:]), 1, False),
        ((REQUEST[0], "HEAD", REQUEST[2]), 1, False),
        ((*REQUEST[:2], "https://hub.test/v2/org/app/manifests/other"), 1, False),
    ],
)
def test_the_same_request_of_the_same_client_within_ten_seconds_is_a_repetition(
    request_: tuple[str, str, str], seconds: float, repeated: bool
) -> None:
    requests = RepeatedRequests()
    assert not requests.record(*REQUEST, now=100)
    assert requests.record(*request_, now=100 + seconds) == repeated


def test_a_client_that_usually_sends_a_request_twice_repeats_it_with_the_third() -> None:
    requests = RepeatedRequests()
    assert [requests.record(*REQUEST, now=100 + second, usual=2) for second in range(4)] == [False, False, True, True]
    assert not requests.record(*REQUEST, now=200, usual=2)


@pytest.mark.parametrize(
    ("times", "repeated"),
    [
        ([100, 100 + RETRY_PAUSE - 0.1], [False, False]),
        ([100, 100 + RETRY_PAUSE], [False, True]),
        ([100, 100.5, 101, 101.5], [False, False, True, True]),
        ([100, 100.5, 120, 120.5, 121], [False, False, False, False, True]),
    ],
)
def test_a_request_that_may_be_parallel_is_no_repetition_until_a_second_after_the_first(
    times: list[float], repeated: list[bool]
) -> None:
    requests = RepeatedRequests()
    assert [requests.record(*REQUEST, now=now, pause=RETRY_PAUSE) for now in times] == repeated


def test_the_oldest_redirects_are_evicted_first() -> None:
    requests = RepeatedRequests()
    requests.record(*REQUEST, now=100)
    for number in range(REDIRECTS):
        requests.record(str(number), "GET", "/", now=100)
    assert not requests.record(*REQUEST, now=100)
    assert requests.record(str(REDIRECTS - 1), "GET", "/", now=100)
