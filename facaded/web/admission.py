"""Which connections and requests are accepted, so that no source of them shuts out the others."""

from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from facaded.backends.reached_limits import ReachedLimits
from facaded.net.descriptors import CLIENT_CONNECTIONS, CLOSING
from facaded.net.freed_memory import FreedMemory
from facaded.net.rate_limiter import RateLimiter
from facaded.policy.limits import BURST, Limit, Limits, Network
from facaded.policy.sources import is_in, parse_address, source_of
from facaded.web.open_connections import OpenConnections

ALL_NETWORKS: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

FOR_OPERATORS = Limits(exempt=ALL_NETWORKS)
"""The limits of the admin listener and the control socket: no source has any of its own."""


ORIGINS = 4096
"""Addresses whose origin is kept, because parsing one takes longer than all else that is done for a connection."""


READS = 8
"""Connections of one source that are read in a row on the ordinary path: with 4 requests each they take `READ_TIME`."""

READ_TIME = 0.01
"""Seconds: what that many connections take, at most."""

ORDINARY_UNITS = 16
"""Units of a turn that such a connection takes; one whose request is answered directly takes one."""

TURN_UNITS = READS * ORDINARY_UNITS
"""Units that one source may take in a turn of the reactor."""

COUNTED_UNITS = TURN_UNITS // 2
"""Units up to which the end of a turn is not waited for: that would cost more than most turns."""


class AdmittedConnection(Protocol):
    """What admission needs of a connection."""

    def abort(self) -> None:
        """Close it at once: one that waits for its peer would keep its descriptor."""

    def __hash__(self) -> int:
        """Return the same number for its whole life."""


@frozen
class AdmissionSettings:
    """What is accepted: `connections` in all, and the other limits per source; see `Limits`.

    `trusted_proxies` have no limits of their own, because their connections carry those of many clients.
    """

    limits: Limits = field(factory=Limits)
    connections: int = CLIENT_CONNECTIONS
    trusted_proxies: tuple[Network, ...] = ()


class Admission:
    """Decides which connections and requests of one or more sites are accepted.

    If there are too many connections, the oldest idle one of the largest source makes room. A connection is idle
    unless one of its requests is being answered.
    """

    def __init__(self, clock: IReactorTime, reached: ReachedLimits, settings: AdmissionSettings) -> None:
        self._clock = clock
        self._reached = reached
        self._open: OpenConnections[AdmittedConnection] = OpenConnections()
        self._closing: set[AdmittedConnection] = set()
        self._reads: dict[str, int] = {}
        self._freed_memory = FreedMemory(clock)
        self.settings = settings
        self._limit_rates()
        self.reconfigure(settings)

    def reconfigure(self, settings: AdmissionSettings) -> None:
        """Apply new settings. Open connections stay."""
        previous, new = self.settings.limits, settings.limits
        self.settings = settings
        self._origin = lru_cache(ORIGINS)(partial(_origin, settings.limits.exempt + settings.trusted_proxies))
        if (previous.new_connections_per_source, previous.requests_per_source) != (
            new.new_connections_per_source,
            new.requests_per_source,
        ):
            self._limit_rates()

    @property
    def limits(self) -> Limits:
        return self.settings.limits

    def note(self, limit: Limit, address: str) -> None:
        """Count that a client at `address` reached a limit."""
        self._reached.note(limit, self._origin(address)[0])

    def admits(self, address: str) -> bool:
        """Return whether to accept a new connection from `address`; another one may be closed to make room for it.

        `address` is "-" if it is not known yet, or if there is none.
        """
        source, is_limited = self._origin(address)
        if is_limited:
            if self._new_connections.delay(source, self._clock.seconds()):
                return self._refuse(Limit.NEW_CONNECTIONS_PER_SOURCE, source)
            if self._open.count(source) >= self.limits.connections_per_source:
                self._reached.note(Limit.CONNECTIONS_PER_SOURCE, source)
                if not self._close_oldest(source):
                    return False
        if len(self._open) < self.settings.connections:
            return True
        self._reached.note(Limit.CONNECTIONS, source)
        largest = self._open.largest()
        if largest is None or (largest != source and self._open.count(largest) <= self._open.count(source)):
            return False  # busy connections of one source must not close the idle ones of smaller sources
        return self._close_oldest(largest, is_first=not self._open.count(source))

    def join(self, connection: AdmittedConnection, address: str) -> None:
        """Count a connection that was accepted, as idle."""
        self._open.add(connection, self._origin(address)[0])

    def move(self, connection: AdmittedConnection, address: str) -> None:
        """Count a connection for another address, because a proxy has said whose it is; abort it if it is too many."""
        if connection not in self._open:
            return
        self._open.remove(connection)
        if self.admits(address):
            self.join(connection, address)
        else:
            connection.abort()

    def leave(self, connection: AdmittedConnection) -> None:
        """Forget a connection that has ended."""
        self._open.remove(connection)
        self._closing.discard(connection)
        self._freed_memory.note_end(len(self._open))

    def make_busy(self, connection: AdmittedConnection) -> None:
        """Keep a connection open, because a request is being answered."""
        self._open.make_busy(connection)

    def make_idle(self, connection: AdmittedConnection) -> None:
        """Allow that a connection is closed to make room, after those of its source that have been idle for longer."""
        self._open.make_idle(connection)

    def admits_request(self, address: str) -> bool:
        """Return whether to answer a request from `address`."""
        source, is_limited = self._origin(address)
        if not is_limited or not self._requests.delay(source, self._clock.seconds()):
            return True
        return self._refuse(Limit.REQUESTS_PER_SOURCE, source)

    def turn_delay(self, address: str, units: int = 1) -> float | None:
        """Return None if a connection from `address` may be read now, else in how many seconds; 0.0 is the next turn.

        Otherwise a source could use up the burst of its rate in one turn of the reactor, from many connections at once.
        `units` is how much of the turn it takes.
        """
        source, is_limited = self._origin(address)
        if not is_limited:
            return None
        used = self._reads.get(source, 0)
        if used < COUNTED_UNITS <= used + units:
            self._clock.callLater(0, self._reads.clear)
        elif len(self._reads) >= ORIGINS:
            self._reads.clear()
        if used < TURN_UNITS:
            self._reads[source] = used + units
            return None
        self._reads[source] = used + ORDINARY_UNITS
        return (used - TURN_UNITS) // TURN_UNITS * READ_TIME

    def _close_oldest(self, source: str, is_first: bool = False) -> bool:
        """Close the oldest idle connection of a source; return False if that is not possible.

        Its descriptor is free only in the reactor's next turn, so there is a limit in each turn. Half of it is kept for
        the first connection of a source (`is_first`), because one with many may open more in one turn than others.
        """
        connection = self._open.oldest_idle(source)
        if connection is None or len(self._closing) >= (CLOSING if is_first else CLOSING // 2):
            return False
        self._open.remove(connection)
        self._closing.add(connection)
        connection.abort()
        return True

    def _refuse(self, limit: Limit, source: str) -> bool:
        self._reached.note(limit, source)
        return False

    def _limit_rates(self) -> None:
        limits = self.limits
        connections, requests = limits.new_connections_per_source, limits.requests_per_source
        self._new_connections: RateLimiter[str] = RateLimiter(connections, connections * BURST)
        self._requests: RateLimiter[str] = RateLimiter(requests, requests * BURST)


def _origin(exempt: tuple[Network, ...], address: str) -> tuple[str, bool]:
    """Return the source of an address, and whether it has limits of its own."""
    return source_of(address), parse_address(address) is not None and not is_in(address, exempt)
