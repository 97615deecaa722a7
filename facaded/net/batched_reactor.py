"""Reads from many connections in one turn of the reactor.

For each event, Twisted's reactor sets up a context for the log, which takes longer than reading does. So connections
are polled here, and the reactor knows only the poll. A new connection is read from as soon as it is accepted, because
its client speaks first.

A batch is first read from all connections, then passed on, and what is written is sent at the end: each system call
makes the processor forget the program, which is as long as a request is short. In turns of their own, requests took 20
to 30 % more CPU time.
"""

import contextlib
import os
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twisted.internet import error, main
from twisted.internet.interfaces import IHalfCloseableDescriptor, IListeningPort, IProtocolFactory, IReadDescriptor
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.net.reactor import IFacadedReactor

BATCH = 50
"""Connections that are read from in one turn, so that others and timers have theirs."""

_log = Logger()
_logged_failures = _log.failureHandler("internal error at the end of a connection")


class _PolledTransports:
    """Transports that are polled together, behind one descriptor. `_descriptors` has also those that are not yet."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._poll = select.epoll()
        self._descriptors: dict[Any, int] = {}
        self._polled: dict[int, Any] = {}

    def fileno(self) -> int:
        return self._poll.fileno()

    def logPrefix(self) -> str:
        return "connections"

    def _readable(self) -> list[Any]:
        """Return the transports that have something to read, as many as a batch has."""
        polled = (self._polled.get(descriptor) for descriptor, _ in self._poll.poll(0, BATCH))
        return [selectable for selectable in polled if selectable is not None]

    def _begin_polling(self, selectable: Any) -> None:
        """Poll a transport from now on. If the kernel has no memory for that, disconnect it."""
        descriptor = self._descriptors[selectable]
        try:
            self._poll.register(descriptor, select.EPOLLIN)
        except OSError as problem:
            del self._descriptors[selectable]
            self._reactor.callLater(0, selectable.connectionLost, Failure(problem))
        else:
            self._polled[descriptor] = selectable


@implementer(IReadDescriptor)
class BatchedReactor(_PolledTransports):
    """Listens on TCP as `reactor` does, and reads from the connections in batches. Everything else is the reactor's.

    It has what transports need of a reactor: IReactorTime and IReactorFDSet.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._ports: set[Port] = set()
        self._accepted: list[Any] | None = None
        self._writers: dict[Any, None] | None = None
        self._postponed: list[Callable[[], None]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """Listen, and read from what connects; see IReactorTCP."""
        listening: Any = BatchedPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening  # type: ignore[no-any-return]

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """Listen on a TCP socket that another process opened, and read from what connects; see IReactorSocket."""
        adopted = AdoptedSocket(addressFamily, socket.SOCK_STREAM, fileno=os.dup(fileDescriptor))
        listening: Any = AdoptedPort(adopted, factory, self)
        listening.startListening()
        return listening  # type: ignore[no-any-return]

    def forget(self, port: Port | None = None) -> None:
        """Forget a port that is closed; its connections stay. Leave the reactor if nothing is left."""
        if port is not None:
            self._ports.discard(port)
        if not self._ports and not self._descriptors:
            self._reactor.removeReader(self)

    # Of IReactorFDSet, for the transports

    def addReader(self, selectable: Any) -> None:
        if isinstance(selectable, Port):
            if not self._ports:
                self._reactor.addReader(self)
            self._ports.add(selectable)
            self._reactor.addReader(selectable)
        elif selectable not in self._descriptors:
            self._descriptors[selectable] = selectable.fileno()
            if self._accepted is None:
                self._begin_polling(selectable)
            else:
                self._accepted.append(selectable)

    def removeReader(self, selectable: Any) -> None:
        if isinstance(selectable, Port):
            self._reactor.removeReader(selectable)
            return
        descriptor = self._descriptors.pop(selectable, None)
        if descriptor is not None and self._polled.get(descriptor) is selectable:
            del self._polled[descriptor]
            with contextlib.suppress(OSError):  # it may be closed already
                self._poll.unregister(descriptor)
            self.forget()

    def addWriter(self, selectable: Any) -> None:
        if self._writers is None:
            self._reactor.addWriter(selectable)
        else:
            self._writers[selectable] = None

    def removeWriter(self, selectable: Any) -> None:
        if self._writers is not None:
            self._writers.pop(selectable, None)
        self._reactor.removeWriter(selectable)

    # Of IReadDescriptor, for the reactor

    def doRead(self) -> None:
        """Read from the connections that have something to read."""
        with self._batch():
            self._read(self._readable())

    def connectionLost(self, reason: Failure) -> None:
        """End all connections, because the reactor stops."""
        for selectable in list(self._descriptors):
            self.removeReader(selectable)
            with _logged_failures:
                selectable.connectionLost(reason)

    def accept(self, port: "BatchedPort") -> None:
        """Accept connections, and read from them once without polling: most have sent something by then."""
        self._accepted = []
        with self._batch():
            try:
                Port.doRead(port)
            finally:
                accepted, self._accepted = self._accepted, None
            self._read([selectable for selectable in accepted if selectable in self._descriptors])
            for selectable in accepted:
                descriptor = self._descriptors.get(selectable)
                if descriptor is not None and self._polled.get(descriptor) is not selectable:
                    self._begin_polling(selectable)  # unless it was paused and resumed meanwhile

    def postpone(self, send: Callable[[], None]) -> bool:
        """Call `send` at the end of the batch that is being passed on; return False if there is none."""
        if self._postponed is None:
            return False
        self._postponed.append(send)
        return True

    def _read(self, selectables: Iterable[Any]) -> None:
        """Read from these transports, and then pass on what has arrived."""
        for selectable, arrived in [(selectable, selectable.receive()) for selectable in selectables]:
            if arrived is None or not selectable.connected:
                continue
            if isinstance(arrived, bytes):
                try:
                    selectable.protocol.dataReceived(arrived)
                    continue
                except Exception as problem:
                    _log.failure("internal error in a connection")
                    arrived = problem
            with _logged_failures:
                _disconnect(self, selectable, arrived, is_read=True)

    @contextlib.contextmanager
    def _batch(self) -> Iterator[None]:
        """Let everything be sent at the end: what was postponed, and what transports want to write.

        What the sockets do not take then is left to the reactor.
        """
        writers: dict[Any, None] = {}
        postponed: list[Callable[[], None]] = []
        self._writers, self._postponed = writers, postponed
        try:
            yield
        finally:
            self._postponed = None
            for send in postponed:
                try:
                    send()
                except Exception:
                    _log.failure("internal error in a connection")
            for selectable in list(writers):
                if selectable in writers:
                    _write(self, selectable)
            self._writers = None
            for selectable in writers:
                self._reactor.addWriter(selectable)


def _write(reactor: BatchedReactor, selectable: Any) -> None:
    """Let a transport write, and disconnect it if it says so, as Twisted's reactor would. Never raises."""
    try:
        why = selectable.doWrite()
    except Exception as problem:
        _log.failure("internal error in a connection")
        why = problem
    if why is not None:
        with _logged_failures:
            _disconnect(reactor, selectable, why, is_read=False)


def _disconnect(reactor: BatchedReactor, selectable: Any, why: Exception, is_read: bool) -> None:
    reactor.removeReader(selectable)
    if is_read and isinstance(why, error.ConnectionDone) and IHalfCloseableDescriptor.providedBy(selectable):
        selectable.readConnectionLost(Failure(why))
    else:
        reactor.removeWriter(selectable)
        selectable.connectionLost(Failure(why))


class BatchedTransport(Server):
    """A connection of a BatchedReactor, which reads and passes on in two steps."""

    def receive(self) -> bytes | Exception | None:
        """Return what has arrived, None if nothing has, or why it is to be disconnected."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        return data or main.CONNECTION_DONE


class BatchedPort(Port):
    """A listening socket of a BatchedReactor."""

    reactor: Any
    transport = BatchedTransport

    def doRead(self) -> None:
        self.reactor.accept(self)

    def connectionLost(self, reason: Failure) -> None:
        Port.connectionLost(self, reason)
        self.reactor.forget(self)


class AdoptedSocket(socket.socket):
    """A listening socket that its owner keeps open, with its own backlog.

    So it is neither bound nor made to listen again. It is not shut down either, because that would end it for its owner
    too: connections that arrive during a restart wait in it.
    """

    def bind(self, address: object, /) -> None:
        """Do nothing."""

    def listen(self, backlog: int = 0, /) -> None:
        """Do nothing."""

    def shutdown(self, how: int, /) -> None:
        """Do nothing."""


class AdoptedPort(BatchedPort):
    """A BatchedPort on a socket that another process opened."""

    def __init__(self, adopted: AdoptedSocket, factory: IProtocolFactory, reactor: BatchedReactor) -> None:
        host, port = adopted.getsockname()[:2]
        BatchedPort.__init__(self, port, factory, interface=host, reactor=reactor)
        self._adopted = adopted

    def createInternetSocket(self) -> socket.socket:
        """Return the adopted socket: Twisted would create one."""
        return self._adopted


def batched(reactor: IFacadedReactor) -> IFacadedReactor:
    """Return a reactor that reads from the connections of TCP listeners in batches."""
    return BatchedReactor(reactor)  # type: ignore[return-value]  # it passes on what it does not have itself
