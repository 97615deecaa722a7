"""The rate limit per key."""

from hypothesis import given
from hypothesis import strategies as st

from facaded.net.rate_limiter import RateLimiter


def test_a_burst_is_allowed_at_once_and_then_the_rate() -> None:
    limiter: RateLimiter[str] = RateLimiter(rate=2, burst=3)
    assert [limiter.delay("a", 100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limiter.delay("b", 100.0) == 0, "every key has its own burst"
    assert limiter.delay("a", 100.25) == 0.25, "a refused event does not count"
    assert limiter.delay("a", 100.5) == 0
    assert limiter.delay("a", 100.5) == 0.5


def test_a_whole_burst_is_back_after_a_pause() -> None:
    limiter: RateLimiter[str] = RateLimiter(rate=2, burst=3)
    assert [limiter.delay("a", 100.0) for _ in range(3)] == [0, 0, 0]
    assert [limiter.delay("a", 101.5) for _ in range(4)] == [0, 0, 0, 0.5]


def test_the_number_of_keys_is_bounded() -> None:
    limiter: RateLimiter[int] = RateLimiter(rate=1, burst=1, keys=2)
    assert [limiter.delay(key, 100.0) for key in (1, 2, 3)] == [0, 0, 0]
    assert limiter.delay(3, 100.0) > 0
    assert limiter.delay(1, 100.0) == 0, "the least recently used was forgotten"


def test_a_key_that_is_refused_is_not_forgotten_for_others() -> None:
    limiter: RateLimiter[int] = RateLimiter(rate=1, burst=1, keys=2)
    assert [limiter.delay(key, 100.0) for key in (1, 2)] == [0, 0]
    assert limiter.delay(1, 100.0) > 0
    assert limiter.delay(3, 100.0) == 0
    assert limiter.delay(1, 100.0) > 0, "it was used after the other one"


@given(st.lists(st.floats(0, 2), max_size=60), st.integers(1, 20), st.integers(1, 8))
def test_no_more_than_the_burst_and_the_rate_are_allowed_in_any_time(
    pauses: list[float], rate: int, burst: int
) -> None:
    limiter: RateLimiter[str] = RateLimiter(rate, burst)
    now, allowed = 0.0, []
    for pause in pauses:
        now += pause
        if limiter.delay("a", now) == 0:
            allowed.append(now)
    for first, begin in enumerate(allowed):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= burst + (allowed[last] - begin) * rate + 1e-6
