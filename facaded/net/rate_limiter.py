"""A rate limit per key: the generic cell rate algorithm (ITU-T I.371), a token bucket with one number per key."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KEYS = 20_000
"""Keys that are remembered; the least recently used is forgotten, and starts again with a whole burst."""

Key = TypeVar("Key", bound=Hashable)


class RateLimiter(Generic[Key]):
    """Allows each key `rate` events a second, and `burst` at once after a pause. Times are in monotonic seconds."""

    def __init__(self, rate: float, burst: int, keys: int = KEYS) -> None:
        self._interval = 1 / rate
        self._tolerance = (burst - 1) / rate
        self._keys = keys
        self._due: OrderedDict[Key, float] = OrderedDict()

    def delay(self, key: Key, now: float) -> float:
        """Count an event and return 0.0, or return how long to wait for the next one, without counting it."""
        due = self._due.get(key, now)
        if due <= now:
            due = now
        elif due - now > self._tolerance:
            self._due.move_to_end(key)
            return due - now - self._tolerance
        self._due[key] = due + self._interval
        self._due.move_to_end(key)
        if len(self._due) > self._keys:
            self._due.popitem(last=False)
        return 0.0
