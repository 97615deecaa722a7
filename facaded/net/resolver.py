"""Name resolution: the system's getaddrinfo, in threads that only the resolver uses.

Twisted resolves names in the thread pool that the whole reactor shares. There, a zone whose name servers do not respond
delays all other names, and a lookup that hangs delays the exit of the process.
"""

import re
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from threading import Thread
from typing import Literal

import idna
from attrs import define, evolve, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.logger import Logger
from zope.interface import implementer

from facaded.net.addresses import is_address
from facaded.net.expiring import ExpiringMap
from facaded.net.reactor import IFacadedReactor

LOOKUPS = 16
"""Concurrent lookups. A backend has up to four names (its own, its token server's, one or two of a CDN), so that a few
backends whose name servers are down leave room for the others."""

QUEUE = 64
"""Names that wait for a lookup: after a start, 16 backends with four names each may look all of them up at once."""

WAITERS = 1000
"""Callers that wait for one name. Twisted does not cancel its own when their requests time out."""

PATIENCE = 1.0
"""Seconds to wait for a lookup before the last known addresses are used: half the timeout of a connection."""

STALE_TIME = 3600.0
"""Seconds for which the last known addresses are used if a name stops resolving: registries seldom move in an hour."""

CACHED_NAMES = 1000
"""Names whose addresses are remembered. Backends use a few dozen; more come only from a registry that invents names."""

ADDRESSES = 16
"""Addresses used of one name: with 0.1 s between attempts, all are tried before a connection times out."""

NAME_LENGTH = 254
"""Longest name in characters, including a final dot (RFC 1035 §2.3.4)."""

_NAME = re.compile(r"[^\x00-\x20\x7f.]{1,63}(\.[^\x00-\x20\x7f.]{1,63})*\.?", re.ASCII)
"""Labels of 1 to 63 characters. A NUL ends the name for the system: `localhost\\0.example.com` is `localhost`."""

_KINDS: Mapping[int, type[IPv4Address] | type[IPv6Address]] = {
    socket.AF_INET: IPv4Address,
    socket.AF_INET6: IPv6Address,
}

Address = IPv4Address | IPv6Address
SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
GetAddrInfo = Callable[[str, int, int, int], Sequence[tuple[int, int, int, str, SocketAddress]]]
"""`socket.getaddrinfo`: name, port, address family, socket type."""


@implementer(IHostResolution)
@define(eq=False)
class _Waiter:
    """One caller that waits for the addresses of a name, until it gets them or cancels."""

    name: str
    receiver: IResolutionReceiver
    port: int
    kinds: tuple[type[IAddress], ...]
    transport: Literal["TCP", "UDP"]
    leave: "Callable[[_Waiter], None]"
    waiting: bool = True

    def cancel(self) -> None:
        if self.waiting:
            self.waiting = False
            self.leave(self)

    def deliver(self, addresses: Iterable[Address]) -> None:
        """Pass the addresses of the requested kinds to the receiver. The receiver may cancel between two of them."""
        for address in addresses:
            if self.waiting and isinstance(address, self.kinds):
                self.receiver.addressResolved(evolve(address, type=self.transport, port=self.port))
        if self.waiting:
            self.waiting = False
            self.receiver.resolutionComplete()


@define(eq=False)
class _Lookup:
    """A lookup that is queued or in progress. `slow` is set once it has taken longer than PATIENCE."""

    name: str
    waiters: list[_Waiter] = field(factory=list)
    patience_timer: IDelayedCall | None = None
    slow: bool = False


@frozen
class _LastAddresses:
    """The last known addresses of a name. `stale_since` is set while they are used instead of new ones."""

    addresses: tuple[Address, ...]
    stale_since: float | None = None


class _AddressCache:
    """The last known addresses of each name, used when a lookup fails or is slow."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entries: ExpiringMap[str, _LastAddresses] = ExpiringMap(CACHED_NAMES)

    def stale(self) -> Mapping[str, float]:
        """Return the names whose last known addresses are in use, and since when, in the clock's seconds."""
        entries = self._entries.items(self._clock.seconds())
        return {name: entry.stale_since for name, entry in entries if entry.stale_since is not None}

    def get(self, name: str) -> tuple[Address, ...]:
        """Return the last known addresses, or () if there are none or they are too old."""
        entry = self._entries.get(name, self._clock.seconds())
        return entry.addresses if entry else ()

    def store(self, name: str, addresses: tuple[Address, ...], slow: bool) -> None:
        """Store the result of a lookup.

        A `slow` lookup does not end the use of the last known addresses: if the next one is slow as well, each logs two
        lines.
        """
        now = self._clock.seconds()
        previous = self._entries.get(name, now)
        stale_since = previous.stale_since if previous else None
        if stale_since is not None and not slow:
            self._log.info("{name} resolves again", name=name)
            stale_since = None
        self._entries.put(name, _LastAddresses(addresses, stale_since), now + STALE_TIME)

    def use(self, name: str, reason: str) -> tuple[Address, ...]:
        """Return the last known addresses in place of new ones, and log a warning when that begins."""
        now = self._clock.seconds()
        entry = self._entries.get(name, now)
        if entry is None:
            return ()
        if entry.stale_since is None:
            self._entries.replace(name, evolve(entry, stale_since=now))
            self._log.warn(
                "{name} does not resolve ({reason}): using its last addresses for up to {minutes:.0f} min",
                name=name,
                reason=reason,
                minutes=STALE_TIME / 60,
            )
        return entry.addresses


@implementer(IHostnameResolver)
class Resolver:
    """The name resolver that facaded installs in its reactor.

    Concurrent requests for a name share one lookup. If it fails or takes longer than PATIENCE, the last known addresses
    are used if they are younger than STALE_TIME; without any, callers wait until the lookup ends. `from_thread` is
    `reactor.callFromThread`, and `start` runs a function in a thread.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        from_thread: Callable[..., object],
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
        start: "Callable[[Callable[[], None]], None] | None" = None,
    ) -> None:
        self._clock = clock
        self._from_thread = from_thread
        self._getaddrinfo = getaddrinfo
        self._start = start or start_thread
        self._lookups: dict[str, _Lookup] = {}
        self._queue: deque[_Lookup] = deque()
        self._running = 0
        self._cache = _AddressCache(clock)
        self._overloaded = False

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Pass the addresses of a name to the receiver, or none if it does not resolve. IP addresses need no lookup."""
        kinds = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        transport: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        waiter = _Waiter(hostName, resolutionReceiver, portNumber, kinds, transport, self._leave)
        resolutionReceiver.resolutionBegan(waiter)
        name = normalize(hostName)
        if not waiter.waiting:
            return waiter
        if name is None:
            self._deliver_to([waiter], ())
        elif is_address(hostName):
            self._deliver_to([waiter], _parse_address(hostName))
        else:
            self._join(name, waiter)
        return waiter

    def stale(self) -> Mapping[str, float]:
        """Return the names whose last known addresses are in use, and since when, in the clock's seconds."""
        return self._cache.stale()

    # In the reactor's thread

    def _join(self, name: str, waiter: _Waiter) -> None:
        """Let a caller wait for the lookup of a name, or answer it at once if it must not wait."""
        lookup = self._lookups.get(name)
        if lookup is None and len(self._queue) < QUEUE:
            self._enqueue(_Lookup(name, [waiter]))
        elif lookup is None or len(lookup.waiters) >= WAITERS:
            self._warn_overloaded(name)
            self._deliver_to([waiter], self._cache.use(name, "too many lookups are waiting"))
        elif lookup.slow and self._cache.get(name):
            self._deliver_to([waiter], self._cache.use(name, "the lookup is slow"))
        else:
            lookup.waiters.append(waiter)

    def _enqueue(self, lookup: _Lookup) -> None:
        self._lookups[lookup.name] = lookup
        if self._cache.get(lookup.name):
            lookup.patience_timer = self._clock.callLater(PATIENCE, self._lose_patience, lookup)
        self._queue.append(lookup)
        self._start_queued()

    def _start_queued(self) -> None:
        """Start queued lookups while there is room."""
        while self._queue and self._running < LOOKUPS:
            lookup = self._queue.popleft()
            self._running += 1
            try:
                self._start(partial(self._run, lookup))
            except RuntimeError:  # the system has no more threads: treat it as a failed lookup
                self._from_thread(self._finish, lookup, (), "cannot start a thread")
        if not self._queue and all(len(lookup.waiters) < WAITERS for lookup in self._lookups.values()):
            self._overloaded = False

    def _lose_patience(self, lookup: _Lookup) -> None:
        """Answer the callers of a slow lookup with the last known addresses."""
        lookup.slow = True
        if lookup.waiters and self._cache.get(lookup.name):
            waiters, lookup.waiters = lookup.waiters, []
            self._deliver_to(waiters, self._cache.use(lookup.name, f"the lookup takes over {PATIENCE:.0f} s"))

    def _finish(self, lookup: _Lookup, addresses: tuple[Address, ...], reason: str) -> None:
        """Deliver the result of a lookup; `reason` says why there are no addresses, if there are none."""
        self._running -= 1
        self._forget(lookup)
        self._start_queued()
        if addresses:
            self._cache.store(lookup.name, addresses, lookup.slow)
        elif lookup.waiters:
            addresses = self._cache.use(lookup.name, reason)
        self._deliver_to(lookup.waiters, addresses)

    def _leave(self, waiter: _Waiter) -> None:
        """Remove a caller that has cancelled, and drop its lookup if no other caller waits and it has not started."""
        lookup = self._lookups.get(normalize(waiter.name) or "")
        if lookup is None or waiter not in lookup.waiters:
            return
        lookup.waiters.remove(waiter)
        if not lookup.waiters and lookup in self._queue:
            self._queue.remove(lookup)
            self._forget(lookup)

    def _forget(self, lookup: _Lookup) -> None:
        del self._lookups[lookup.name]
        if lookup.patience_timer is not None and lookup.patience_timer.active():
            lookup.patience_timer.cancel()

    def _deliver_to(self, waiters: Iterable[_Waiter], addresses: Sequence[Address]) -> None:
        for waiter in waiters:
            with self._log.failureHandler("the receiver of a name's addresses failed"):
                waiter.deliver(addresses)

    def _warn_overloaded(self, name: str) -> None:
        """Log one warning each time the resolver becomes overloaded, not one for each name."""
        if not self._overloaded:
            self._overloaded = True
            self._log.warn(
                "cannot look up {name}: too many lookups are waiting; check the system's name servers", name=name
            )

    # In a thread

    def _run(self, lookup: _Lookup) -> None:
        addresses: tuple[Address, ...] = ()
        try:
            addresses = _convert(self._getaddrinfo(lookup.name, 0, socket.AF_UNSPEC, socket.SOCK_STREAM))
            reason = "no addresses"
        except Exception as error:  # any error ends the lookup, because its callers wait for a result
            reason = getattr(error, "strerror", None) or type(error).__name__
        self._from_thread(self._finish, lookup, addresses, reason)


def install(reactor: IFacadedReactor) -> None:
    """Install a Resolver in a reactor, so that a lookup that hangs delays neither other names nor the exit."""
    reactor.installNameResolver(Resolver(reactor, reactor.callFromThread))


def resolver_of(reactor: IReactorPluggableNameResolver) -> Resolver:
    """Return the resolver that `install` has installed in a reactor."""
    resolver = reactor.nameResolver
    assert isinstance(resolver, Resolver), "call `install` first"
    return resolver


def start_thread(work: Callable[[], None]) -> None:
    """Run `work` in a daemon thread, which does not delay the exit. Raises RuntimeError if none can be started."""
    Thread(target=work, name="facaded-names", daemon=True).start()


def normalize(name: str) -> str | None:
    """Return a host name in lower-case ASCII, as it is passed to the system; None if it is not a valid name."""
    if len(name) > NAME_LENGTH:  # before idna, whose running time grows with the square of the length
        return None
    try:
        encoded = name if name.isascii() else idna.encode(name).decode("ascii")
    except UnicodeError:
        return None
    return encoded.lower() if _NAME.fullmatch(encoded) else None


def _parse_address(address: str) -> tuple[Address, ...]:
    """Parse an IP address. This needs no lookup; it fails only if the zone of an IPv6 address is unknown."""
    try:
        return _convert(
            socket.getaddrinfo(address, 0, socket.AF_UNSPEC, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
    except OSError:
        return ()


def _convert(results: Iterable[tuple[int, int, int, str, SocketAddress]]) -> tuple[Address, ...]:
    """Convert getaddrinfo's results, without duplicates, in order of preference (RFC 6724), at most ADDRESSES."""
    addresses = (_KINDS[family]("TCP", *place) for family, _, _, _, place in results if family in _KINDS)
    return tuple(islice(dict.fromkeys(addresses), ADDRESSES))
