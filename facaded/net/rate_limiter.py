"""A rate limit per key: the generic cell rate algorithm (ITU-T I.371), a token bucket with one number per key."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from facaded.net.expiring import ExpiringMap

KEYS = 20_000
"""Keys that are remembered; the least recently used is forgotten, and starts again with a whole burst."""

Key = TypeVar("Key", bound=Hashable)


class RateLimiter(Generic[Key]):
    """Allows each key `rate` events a second, and `burst` at once after a pause. Times are in monotonic seconds."""

    def __init__(self, rate: float, burst: int, keys: int = KEYS) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) / rate
        self._due: ExpiringMap[Key, float] = ExpiringMap(keys)

    def delay(self, key: Key, now: float) -> float:
        """Count an event and return 0.0, or return how long to wait for the next one, without counting it."""
        due = max(self._due.get(key, now) or now, now)
        if due - now > self._tolerance:
            return due - now - self._tolerance
        due += self._interval
        self._due.put(key, due, due)
        return 0.0
