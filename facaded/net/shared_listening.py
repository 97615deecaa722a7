"""Listens on sockets that several processes share.

For each TCP address there are as many sockets with SO_REUSEPORT as processes, between which the kernel divides the
connections (socket(7)). Every process has all of them open, and accepts from its own. So connections that wait in the
socket of a process that has died are not lost, and another one accepts them until there is a new one. A Unix socket,
and one from systemd, is the same for all.
"""

import contextlib
import os
import socket
import stat
from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure
from twisted.python.lockfile import FilesystemLock

from facaded.net.batched_reactor import AdoptedSocket

FIRST = 0
"""The number of the first process, which answers clients as its workers do."""

Descriptors = dict[str, list[int]]
"""The descriptors of each address: one for each process, or one for all."""


class SharedListening:
    """A reactor's methods for listening, on sockets that `count` processes share; this one has a `number` from 0 on.

    `inherited` are the descriptors that were open when this process started; it opens what is missing. Everything else
    is the reactor's.
    """

    def __init__(self, reactor: Any, number: int, count: int, inherited: Mapping[str, list[int]] | None = None) -> None:
        self._reactor = reactor
        self._number = number
        self._count = count
        self._descriptors: Descriptors = {key: list(numbers) for key, numbers in (inherited or {}).items()}
        self._listens: Counter[str] = Counter()
        self._factories: dict[str, tuple[int, IProtocolFactory]] = {}
        self._stand_ins: dict[int, list[IListeningPort]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def descriptors(self) -> Descriptors:
        """The descriptors of all addresses that were listened on, for other processes."""
        return self._descriptors

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """Listen on the socket of this process; see IReactorTCP. Raises CannotListenError."""
        key = self._key(f"{interface}|{port}")
        if key not in self._descriptors:
            self._descriptors[key] = _open_sockets(interface, port, backlog, self._count)
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        self._factories[key] = family, factory
        return self._adopt(key, self._number)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> IListeningPort:
        """Listen on the socket at a path; see IReactorUNIX. The first process to do so opens it."""
        key = self._key(f"unix|{address}")
        if key in self._descriptors:
            adopted: Any = InheritedUnixPort(address.encode(), factory, backlog, reactor=self._reactor)
            adopted.inherit(self._descriptors[key][0], removes_path=self._number == FIRST)
            return adopted  # type: ignore[no-any-return]
        try:
            listening: Any = self._reactor.listenUNIX(address, factory, backlog, mode, wantPID)
        except CannotListenError:
            self._listens[f"unix|{address}"] -= 1  # it may be tried again, and the other processes do not know of that
            raise
        self._descriptors[key] = [os.dup(listening.fileno())]
        return listening  # type: ignore[no-any-return]

    def stand_in(self, number: int) -> list[IListeningPort]:
        """Listen on the sockets of another process too, and return what listens. It may listen there as well."""
        if number not in self._stand_ins:
            self._stand_ins[number] = [self._adopt(key, number) for key in self._factories if key in self._descriptors]
        return self._stand_ins[number]

    def stand_down(self, number: int) -> None:
        """Listen there no more; connections stay."""
        for listening in self._stand_ins.pop(number, []):
            listening.stopListening()

    def close(self) -> None:
        """Close all sockets, for this process: the last one that does so ends them."""
        for number in list(self._stand_ins):
            self.stand_down(number)
        descriptors, self._descriptors = self._descriptors, {}
        for numbers in descriptors.values():
            for number in numbers:
                with contextlib.suppress(OSError):
                    os.close(number)

    def _key(self, address: str) -> str:
        """Return a key for an address, the same in all processes, because all listen in the same order."""
        self._listens[address] += 1
        return f"{address}|{self._listens[address]}"

    def _adopt(self, key: str, number: int) -> IListeningPort:
        """Accept connections of an address from the socket of one of the processes."""
        family, factory = self._factories[key]
        listening: IListeningPort = self._reactor.adoptStreamPort(self._descriptors[key][number], family, factory)
        return listening


class InheritedUnixPort(unix.Port):
    """Listens on a Unix socket that another process opened.

    The first process removes its path at the end; it may have taken over from the one that opened it.
    """

    _removes_path = False

    def inherit(self, descriptor: int, removes_path: bool = False) -> None:
        """Listen. A process that `removes_path` at the end has the lock of the path from now on, as Twisted does it."""
        self._preexistingSocket = AdoptedSocket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(descriptor))
        self.mode = stat.S_IMODE(os.stat(self._bindPath).st_mode)
        self._removes_path = removes_path
        if removes_path:
            lock = FilesystemLock(os.fsdecode(self._bindPath) + ".lock")
            self.lockFile = lock if lock.lock() else None
        self.startListening()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        if self._removes_path:
            with contextlib.suppress(OSError):
                os.unlink(self._bindPath)
        if self.lockFile is not None:
            self.lockFile.unlock()
        tcp.Port.connectionLost(self, reason)


def _open_sockets(interface: str, port: int, backlog: int, count: int) -> list[int]:
    """Return the descriptors of sockets that listen on the same address. Raises CannotListenError.

    With SO_REUSEPORT, two daemons of a user could listen on one address unnoticed, so it is bound without that first.
    """
    sockets: list[socket.socket] = []
    try:
        with _bound(interface, port, shares=False):
            pass
        for _ in range(count):
            sockets.append(_bound(interface, port, shares=True))
            port = sockets[0].getsockname()[1]
        for listening in sockets:
            listening.listen(backlog)
            listening.setblocking(False)
    except OSError as problem:
        for opened in sockets:
            opened.close()
        raise CannotListenError(interface, port, problem) from None
    return [listening.detach() for listening in sockets]


def _bound(interface: str, port: int, shares: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in interface else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((interface, port))
    except OSError:
        bound.close()
        raise
    return bound
