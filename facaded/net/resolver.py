"""Names and their addresses: looked up by the system, in threads of our own.

Twisted looks names up in the one pool of threads that the whole reactor shares: a zone with dead name servers starves
the others there, and a look-up that hangs holds up the end of the process.
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
"""Look-ups at once. A backend has a name, a token server's and a CDN's or two, so that a few backends whose zones are
dead leave room for the others."""

QUEUE = 64
"""Names that wait for a look-up: those of 16 backends, four each, may all come at once after a start."""

ASKERS = 1000
"""Askers that wait for one name. Twisted leaves them waiting when the requests they are for have timed out."""

PATIENCE = 1.0
"""Seconds that a look-up may take where old addresses are at hand: half of what a connection is given in all."""

KEPT_TIME = 3600.0
"""Seconds that addresses are good for when they cannot be had anew: registries move, though seldom within the hour."""

KEPT_NAMES = 1000
"""Names whose addresses are kept. Backends use a few dozen; more are a registry's that makes them up."""

KEPT_ADDRESSES = 16
"""Addresses kept of one name: as many as can be tried within a connection's time, 0.1 s apart."""

NAME_LENGTH = 254
"""Characters of a name, a final dot included (RFC 1035 §2.3.4)."""

_NAME = re.compile(r"[^\x00-\x20\x7f.]{1,63}(\.[^\x00-\x20\x7f.]{1,63})*\.?", re.ASCII)
"""Labels of 1 to 63 characters. A NUL would end the name for the system: `localhost\\0.example.com` is `localhost`."""

_KINDS: Mapping[int, type[IPv4Address] | type[IPv6Address]] = {
    socket.AF_INET: IPv4Address,
    socket.AF_INET6: IPv6Address,
}

Address = IPv4Address | IPv6Address
SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
GetAddrInfo = Callable[[str, int, int, int], Sequence[tuple[int, int, int, str, SocketAddress]]]
"""`socket.getaddrinfo`: name, port, address family, kind of socket."""


@implementer(IHostResolution)
@define(eq=False)
class _Asker:
    """One who asks for a name, until it is told or cancels."""

    name: str
    receiver: IResolutionReceiver
    port: int
    kinds: tuple[type[IAddress], ...]
    transport: Literal["TCP", "UDP"]
    leave: "Callable[[_Asker], None]"
    waiting: bool = True

    def cancel(self) -> None:
        if self.waiting:
            self.waiting = False
            self.leave(self)

    def tell(self, addresses: Iterable[Address]) -> None:
        """Give the addresses that were asked for, and end. An asker may cancel in the middle."""
        for address in addresses:
            if self.waiting and isinstance(address, self.kinds):
                self.receiver.addressResolved(evolve(address, type=self.transport, port=self.port))
        if self.waiting:
            self.waiting = False
            self.receiver.resolutionComplete()


@define(eq=False)
class _Lookup:
    """A look-up that waits for its turn or is under way, and those who wait for it."""

    name: str
    askers: list[_Asker] = field(factory=list)
    impatience: IDelayedCall | None = None
    late: bool = False


@frozen
class _Known:
    """The last addresses of a name. `old_since` is set while askers are given them instead of new ones."""

    addresses: tuple[Address, ...]
    old_since: float | None = None


class _LastAddresses:
    """The last good addresses of each name, for when they cannot be looked up, or not in time."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._known: ExpiringMap[str, _Known] = ExpiringMap(KEPT_NAMES)

    def stale(self) -> Mapping[str, float]:
        """The names that are answered with old addresses, and the clock's seconds when that began."""
        known = self._known.items(self._clock.seconds())
        return {name: each.old_since for name, each in known if each.old_since is not None}

    def get(self, name: str) -> tuple[Address, ...]:
        """The last good addresses, if they may still be used."""
        known = self._known.get(name, self._clock.seconds())
        return known.addresses if known else ()

    def keep(self, name: str, addresses: tuple[Address, ...], late: bool) -> None:
        """Keep new addresses in the place of those before.

        `late` ones do not end the use of old ones: the next may be late as well, and each would be a line in the log.
        """
        now = self._clock.seconds()
        before = self._known.get(name, now)
        old_since = before.old_since if before else None
        if old_since is not None and not late:
            self._log.info("{name} resolves again", name=name)
            old_since = None
        self._known.put(name, _Known(addresses, old_since), now + KEPT_TIME)

    def use(self, name: str, why: str) -> tuple[Address, ...]:
        """Return the last good addresses, to answer somebody with, and write a line in the log when that begins."""
        now = self._clock.seconds()
        known = self._known.get(name, now)
        if known is None:
            return ()
        if known.old_since is None:
            self._known.replace(name, evolve(known, old_since=now))
            self._log.warn(
                "{name} does not resolve ({why}): its last addresses are used, for {minutes:.0f} min at most",
                name=name,
                why=why,
                minutes=KEPT_TIME / 60,
            )
        return known.addresses


@implementer(IHostnameResolver)
class Resolver:
    """The resolver that facaded installs in its reactor.

    Each name is looked up when it is asked for, once for all who ask meanwhile. Where that fails, or takes more than
    PATIENCE, the last good addresses are given, if they are younger than KEPT_TIME; without any, askers wait for the
    end of the look-up. `from_thread` is `reactor.callFromThread`, and `start` runs what it is given in a thread.
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
        self._last = _LastAddresses(clock)
        self._crowded = False

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Tell the receiver the addresses of a name, or none if it does not resolve. Literals are told at once."""
        kinds = (IPv4Address, IPv6Address) if addressTypes is None else tuple(addressTypes)
        transport: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        asker = _Asker(hostName, resolutionReceiver, portNumber, kinds, transport, self._leave)
        resolutionReceiver.resolutionBegan(asker)
        name = normal(hostName)
        if not asker.waiting:
            return asker
        if name is None:
            self._tell([asker], ())
        elif is_address(hostName):
            self._tell([asker], _literal(hostName))
        else:
            self._ask(name, asker)
        return asker

    def stale(self) -> Mapping[str, float]:
        """The names that are answered with old addresses, and the clock's seconds when that began."""
        return self._last.stale()

    # In the reactor's thread

    def _ask(self, name: str, asker: _Asker) -> None:
        lookup = self._lookups.get(name)
        if lookup is None and len(self._queue) < QUEUE:
            self._enqueue(_Lookup(name, [asker]))
        elif lookup is None or len(lookup.askers) >= ASKERS:
            self._say_crowded(name)
            self._tell([asker], self._last.use(name, "too many wait for name servers"))
        elif lookup.late and self._last.get(name):
            self._tell([asker], self._last.use(name, "the look-up takes long"))
        else:
            lookup.askers.append(asker)

    def _enqueue(self, lookup: _Lookup) -> None:
        self._lookups[lookup.name] = lookup
        if self._last.get(lookup.name):
            lookup.impatience = self._clock.callLater(PATIENCE, self._too_slow, lookup)
        self._queue.append(lookup)
        self._begin_next()

    def _begin_next(self) -> None:
        """Begin the look-ups that there is room for."""
        while self._queue and self._running < LOOKUPS:
            lookup = self._queue.popleft()
            self._running += 1
            try:
                self._start(partial(self._run, lookup))
            except RuntimeError:  # the system gives no more threads: that is a look-up that fails
                self._from_thread(self._ended, lookup, (), "no thread can be started")
        if not self._queue and all(len(lookup.askers) < ASKERS for lookup in self._lookups.values()):
            self._crowded = False

    def _too_slow(self, lookup: _Lookup) -> None:
        lookup.late = True
        if lookup.askers and self._last.get(lookup.name):
            askers, lookup.askers = lookup.askers, []
            self._tell(askers, self._last.use(lookup.name, f"the look-up takes over {PATIENCE:.0f} s"))

    def _ended(self, lookup: _Lookup, addresses: tuple[Address, ...], why: str) -> None:
        """A look-up has ended: with addresses, or with words that say why there are none."""
        self._running -= 1
        self._forget(lookup)
        self._begin_next()
        if addresses:
            self._last.keep(lookup.name, addresses, lookup.late)
        elif lookup.askers:
            addresses = self._last.use(lookup.name, why)
        self._tell(lookup.askers, addresses)

    def _leave(self, asker: _Asker) -> None:
        """An asker has cancelled. What nobody waits for any more is not begun; what is under way goes on."""
        lookup = self._lookups.get(normal(asker.name) or "")
        if lookup is None or asker not in lookup.askers:
            return
        lookup.askers.remove(asker)
        if not lookup.askers and lookup in self._queue:
            self._queue.remove(lookup)
            self._forget(lookup)

    def _forget(self, lookup: _Lookup) -> None:
        del self._lookups[lookup.name]
        if lookup.impatience is not None and lookup.impatience.active():
            lookup.impatience.cancel()

    def _tell(self, askers: Iterable[_Asker], addresses: Sequence[Address]) -> None:
        for asker in askers:
            with self._log.failureHandler("one who asked for a name failed when it was told the addresses"):
                asker.tell(addresses)

    def _say_crowded(self, name: str) -> None:
        """One line in the log each time that there comes to be no room, not one for each name."""
        if not self._crowded:
            self._crowded = True
            self._log.warn(
                "{name} is not looked up: too many wait for the system's name servers already; see whether they answer",
                name=name,
            )

    # In a thread

    def _run(self, lookup: _Lookup) -> None:
        addresses: tuple[Address, ...] = ()
        try:
            addresses = _read(self._getaddrinfo(lookup.name, 0, socket.AF_UNSPEC, socket.SOCK_STREAM))
            why = "it has no addresses"
        except Exception as error:  # whatever it is: those who wait must hear of it
            why = getattr(error, "strerror", None) or type(error).__name__
        self._from_thread(self._ended, lookup, addresses, why)


def install(reactor: IFacadedReactor) -> None:
    """Have a reactor look names up in threads of our own, so that none that hangs holds up another, or the end."""
    reactor.installNameResolver(Resolver(reactor, reactor.callFromThread))


def resolver_of(reactor: IReactorPluggableNameResolver) -> Resolver:
    """The resolver that `install` has put into a reactor."""
    resolver = reactor.nameResolver
    assert isinstance(resolver, Resolver), "call `install` first"
    return resolver


def start_thread(work: Callable[[], None]) -> None:
    """Run `work` in a thread that does not hold up the end of the process. Raises RuntimeError if there can be none."""
    Thread(target=work, name="facaded-names", daemon=True).start()


def normal(name: str) -> str | None:
    """A name as the system is asked for it, in ASCII and small letters; None if nothing can have that name."""
    if len(name) > NAME_LENGTH:  # before idna, whose work grows with the square of the length
        return None
    try:
        plain = name if name.isascii() else idna.encode(name).decode("ascii")
    except UnicodeError:
        return None
    return plain.lower() if _NAME.fullmatch(plain) else None


def _literal(address: str) -> tuple[Address, ...]:
    """An address that was given in place of a name. Nobody is asked for it; only a scope's name can be unknown."""
    try:
        return _read(socket.getaddrinfo(address, 0, socket.AF_UNSPEC, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except OSError:
        return ()


def _read(found: Iterable[tuple[int, int, int, str, SocketAddress]]) -> tuple[Address, ...]:
    """What getaddrinfo has found: each address once, in the order of preference (RFC 6724), not too many."""
    addresses = (_KINDS[family]("TCP", *place) for family, _, _, _, place in found if family in _KINDS)
    return tuple(islice(dict.fromkeys(addresses), KEPT_ADDRESSES))
