"""Samples: both windows, when a step is failing, and when it is calm again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.samples import (
    ALLOWANCE,
    BUCKET,
    CALM_RATE,
    CALM_SAMPLES,
    LONG_WINDOW,
    SHORT_WINDOW,
    TOLERATED_RATE,
    Count,
    Samples,
)

EMPTY: Samples[str] = Samples()


@pytest.mark.parametrize(
    ("sent", "failed", "failing"),
    [(0, 0, False), (5, 5, False), (6, 6, True), (10, 6, False), (9, 6, True), (50, 10, False), (50, 11, True)],
)
def test_a_step_is_failing_above_ten_percent_and_five_failures(sent: int, failed: int, failing: bool) -> None:
    assert (ALLOWANCE, TOLERATED_RATE) == (5, 0.1)
    assert Count(sent, failed, SHORT_WINDOW).is_failing is failing
    samples = EMPTY.add("blob", 5.0, sent, failed)
    assert samples.find_failing(5.0) == (("blob", Count(sent, failed, SHORT_WINDOW)) if failing else None)


def test_the_short_window_is_asked_first_and_the_long_one_finds_what_is_rare() -> None:
    samples = EMPTY.add("cdn", 5.0, 6, 6)
    assert samples.find_failing(5.0 + SHORT_WINDOW) == ("cdn", Count(6, 6, LONG_WINDOW))
    samples = samples.add("blob", 5.0 + SHORT_WINDOW, 7, 7)
    assert samples.find_failing(5.0 + SHORT_WINDOW) == ("blob", Count(7, 7, SHORT_WINDOW))
    assert samples.find_failing(5.0 + SHORT_WINDOW + LONG_WINDOW) is None


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(1, 3), st.booleans()), max_size=60))
def test_a_count_is_exact_to_the_interval_and_the_memory_is_bounded(entries: list[tuple[float, int, bool]]) -> None:
    samples, now, moments = EMPTY, 0.0, list[tuple[float, int, bool]]()
    for pause, sent, bad in entries:
        now += pause
        samples = samples.add("blob", now, sent, sent * bad)
        moments.append((now, sent, bad))
    for window in (SHORT_WINDOW, LONG_WINDOW):
        count = samples.count("blob", now, window)
        certain = [entry for entry in moments if now - entry[0] <= window - BUCKET]
        possible = [entry for entry in moments if now - entry[0] < window + BUCKET]
        assert sum(sent for _, sent, _ in certain) <= count.sent <= sum(sent for _, sent, _ in possible)
        assert sum(sent for _, sent, bad in certain if bad) <= count.failed <= count.sent
    assert all(len(buckets) <= LONG_WINDOW / BUCKET for buckets in samples.buckets.values())


def test_only_steps_with_samples_in_the_window_are_counted() -> None:
    samples = EMPTY.add("ping", 5.0).add("blob", 100.0, 3, 1)
    assert samples.counts(100.0, SHORT_WINDOW) == {"blob": Count(3, 1, SHORT_WINDOW)}
    assert list(samples.counts(100.0, LONG_WINDOW)) == ["ping", "blob"]
    assert samples.count("cdn", 100.0, LONG_WINDOW) == Count(0, 0, LONG_WINDOW)


def test_samples_do_not_change() -> None:
    before = EMPTY.add("blob", 5.0)
    before.add("blob", 5.0, 5, 5)
    assert before.count("blob", 5.0, SHORT_WINDOW).sent == 1
    assert EMPTY.buckets == {}


@pytest.mark.parametrize(
    ("counts", "calm"),
    [
        ({}, False),
        ({"cdn": (CALM_SAMPLES - 1, 0)}, False),
        ({"cdn": (CALM_SAMPLES, 0)}, True),
        ({"cdn": (CALM_SAMPLES, 1)}, True),
        ({"cdn": (CALM_SAMPLES, 2)}, False),
        ({"cdn": (50, 2)}, True),
        ({"cdn": (49, 2)}, False),
        ({"cdn": (CALM_SAMPLES, 0), "ping": (49, 2)}, False),
        ({"cdn": (CALM_SAMPLES - 1, 0), "ping": (500, 0)}, False),
        ({"ping": (CALM_SAMPLES, 0)}, True),
        ({"ping": (CALM_SAMPLES - 1, 0), "token": (1, 0)}, False),
        ({"ping": (CALM_SAMPLES, 0), "token": (2, 2)}, False),
    ],
)
def test_a_step_is_calm_if_enough_requests_were_sent_and_hardly_any_failed(
    counts: dict[str, tuple[int, int]], calm: bool
) -> None:
    assert CALM_RATE == 0.02
    samples = EMPTY
    for step, (sent, failed) in counts.items():
        samples = samples.add(step, 5.0, sent, failed)
    assert samples.is_calm("cdn", 5.0) is calm
