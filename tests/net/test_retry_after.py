"""Retry-After: seconds and dates of RFC 9110 §10.2.3 are read, and bounded to a day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from facaded.net.client import LONGEST_RETRY_AFTER, ResponseHead

NOW = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110's examples, in seconds since the epoch."""


def retry_after(value: str, date: str = "") -> float:
    headers = {"Retry-After": [value], **({"Date": [date]} if date else {})}
    return ResponseHead(429, Headers(headers)).retry_after(lambda: NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        (" 30 ", 30),
        ("1.5", 1.5),
        ("86401", LONGEST_RETRY_AFTER),
        ("9" * 400, LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("-30", 0),
        ("+30", 0),
        ("1e9", 0),
        ("inf", 0),
        ("nan", 0),
        ("1_000", 0),
        ("1.", 0),
        (".5", 0),
        ("0x10", 0),
        ("\u00b2", 0),
        ("30 seconds", 0),
        ("30, 60", 0),
        ("soon", 0),
        ("", 0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30),
        ("Sun Nov  6 08:50:07 1994", 30),
        ("Sun, 06 Nov 1994 10:50:07 +0200", 30),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
        ("Sun, 06 Foo 1994 08:50:07 GMT", 0),
    ],
)
def test_a_retry_after_is_read_as_seconds_and_bounded_to_a_day(value: str, seconds: float) -> None:
    assert retry_after(value) == seconds


def test_a_response_without_retry_after_has_none() -> None:
    assert ResponseHead(429, Headers()).retry_after() == 0


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:59:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:59:37 GMT", 60),
        ("yesterday", 660),
        ("", 660),
    ],
)
def test_a_date_is_relative_to_the_response_s_own_date_if_it_has_one(date: str, seconds: float) -> None:
    assert retry_after("Sun, 06 Nov 1994 09:00:37 GMT", date) == seconds


WORDS = st.sampled_from(
    ["Sun,", "Sunday,", "06", "Nov", "06-Nov-94", "1994", "99999", "08:49:37", "9:9", "GMT", "-9999"]
)


@given(*[st.text() | st.lists(WORDS | st.text(max_size=6)).map(" ".join)] * 2)
def test_no_retry_after_raises_or_exceeds_its_bounds(value: str, date: str) -> None:
    assert 0 <= retry_after(value, date) <= LONGEST_RETRY_AFTER
