"""Open connections by source, and which of them is closed to make room for another one."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Connection = TypeVar("Connection", bound=Hashable)


class _Source(Generic[Connection]):
    """The connections of one source: how many, and the idle ones in the order in which they became idle."""

    __slots__ = ("count", "idle")

    def __init__(self) -> None:
        self.count = 0
        self.idle: dict[Connection, None] = {}

    @property
    def rank(self) -> int:
        """The number of connections; 0 if none of them is idle."""
        return self.count if self.idle else 0


class OpenConnections(Generic[Connection]):
    """Counts connections, and finds an idle one without looking at all of them.

    A connection is idle until `make_busy`. The sources that have an idle connection are kept by their number of
    connections: n connections have at most √(2n) different numbers, so the largest source is found among 141 of them
    if there are 10,000 connections.
    """

    def __init__(self) -> None:
        self._sources: dict[str, _Source[Connection]] = {}
        self._names: dict[Connection, str] = {}
        self._ranks: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._names

    def count(self, name: str) -> int:
        """Return how many connections a source has."""
        source = self._sources.get(name)
        return source.count if source else 0

    def add(self, connection: Connection, name: str) -> None:
        """Add an idle connection of the source `name`."""
        source = self._sources.setdefault(name, _Source())
        before = source.rank
        source.count += 1
        source.idle[connection] = None
        self._names[connection] = name
        self._move(name, before, source.rank)

    def remove(self, connection: Connection) -> None:
        """Remove a connection if it is there."""
        name = self._names.pop(connection, None)
        if name is None:
            return
        source = self._sources[name]
        before = source.rank
        source.count -= 1
        source.idle.pop(connection, None)
        self._move(name, before, source.rank)
        if not source.count:
            del self._sources[name]

    def make_busy(self, connection: Connection) -> None:
        """Say that a connection is not idle. Do nothing if it is not there."""
        if (name := self._names.get(connection)) is not None:
            source = self._sources[name]
            before = source.rank
            source.idle.pop(connection, None)
            self._move(name, before, source.rank)

    def make_idle(self, connection: Connection) -> None:
        """Say that a connection is idle from now on. Do nothing if it is not there."""
        if (name := self._names.get(connection)) is not None:
            source = self._sources[name]
            if connection in source.idle:
                del source.idle[connection]  # it was used, and comes last again
                source.idle[connection] = None
                return
            before = source.rank
            source.idle[connection] = None
            self._move(name, before, source.rank)

    def oldest_idle(self, name: str) -> Connection | None:
        """Return the connection of a source that has been idle for longest; None if none is idle."""
        source = self._sources.get(name)
        return next(iter(source.idle), None) if source else None

    def largest(self) -> str | None:
        """Return the source with the most connections among those that have an idle one; None if none is idle.

        Of several, it is the one that has had its number for longest.
        """
        return next(iter(self._ranks[max(self._ranks)])) if self._ranks else None

    def _move(self, name: str, before: int, after: int) -> None:
        """Keep a source by its new rank."""
        if before == after:
            return
        if before:
            names = self._ranks[before]
            del names[name]
            if not names:
                del self._ranks[before]
        if after:
            self._ranks.setdefault(after, {})[name] = None
