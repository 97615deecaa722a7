"""A bounded map whose entries expire."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def _one(_: object) -> int:
    return 1


class ExpiringMap(Generic[Key, Value]):
    """A bounded map whose entries expire; the least recently used are evicted first.

    `capacity` limits the sum of the costs of all entries, which is their number with the default `cost`. An entry that
    costs more than that is not stored. The caller passes all times, in seconds of a clock that never goes back.
    """

    def __init__(self, capacity: int, cost: Callable[[Value], int] = _one) -> None:
        self._capacity = capacity
        self._cost = cost
        self._used = 0
        self._entries: OrderedDict[Key, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used(self) -> int:
        """The sum of the costs of all entries, expired ones included."""
        return self._used

    def get(self, key: Key, now: float) -> Value | None:
        """Return the value of `key`, or None if it is missing or has expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[1] <= now:
            self.discard(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: Value, until: float) -> None:
        """Store a value that expires at `until`, replace an earlier one, and evict entries if there is no room."""
        self.discard(key)
        cost = self._cost(value)
        if cost > self._capacity:
            return
        self._entries[key] = value, until
        self._used += cost
        while self._used > self._capacity:
            self.discard(next(iter(self._entries)))

    def replace(self, key: Key, value: Value) -> None:
        """Replace the value of `key` without changing when it expires. Raises KeyError if it is missing."""
        self.put(key, value, self._entries[key][1])

    def discard(self, key: Key) -> None:
        """Remove `key` if it is present."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._used -= self._cost(entry[0])

    def items(self, now: float) -> Iterator[tuple[Key, Value]]:
        """Iterate over the entries that have not expired, the most recently used first."""
        return ((key, value) for key, (value, until) in reversed(self._entries.items()) if until > now)
