"""Bounded memory for what is true for a limited time."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def _one(_: object) -> int:
    return 1


class ExpiringMap(Generic[Key, Value]):
    """A bounded map whose entries expire; the least recently used are evicted first.

    `capacity` is the sum of what all entries may cost: with the default `cost` their number. An entry that costs more
    than that is not kept. Times are seconds of any clock that does not go back, handed in.
    """

    def __init__(self, capacity: int, cost: Callable[[Value], int] = _one) -> None:
        self._capacity = capacity
        self._cost = cost
        self._used = 0
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key, now: float) -> Value | None:
        """Return the value of `key`, or None if there is none or it has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= now:
            self.discard(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, until: float) -> None:
        """Keep a value until a time, in the place of an earlier one, and evict what there is no room for."""
        self.discard(key)
        cost = self._cost(value)
        if cost > self._capacity:
            return
        self._entries[key] = value, until
        self._used += cost
        while self._used > self._capacity:
            self.discard(next(iter(self._entries)))

    def replace(self, key: Key, value: Value) -> None:
        """Give the entry of `key` another value; it expires when it would have. Raises KeyError if there is none."""
        self.put(key, value, self._entries[key][1])

    def discard(self, key: Key) -> None:
        """Forget `key`, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= self._cost(entry[0])

    def items(self, now: float) -> Iterator[tuple[Key, Value]]:
        """Go through what has not expired, the most recently used first."""
        return ((key, value) for key, (value, until) in reversed(self._entries.items()) if until > now)
