"""Connections that are read from in batches, over real sockets and with Twisted's own transports."""

import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.net.batched_reactor import BATCH, BatchedReactor
from tests.net.waiting import reactor, run

MUCH = 4 << 20
"""More bytes than the sockets take."""


class Noting(Protocol):
    """A connection that answers what it receives, and notes how it ends."""

    def __init__(self) -> None:
        self.received = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        assert self.transport is not None
        match data:
            case b"fail":
                raise ValueError
            case b"close":
                self.transport.write(b"closed")
                self.transport.loseConnection()
            case b"much":
                self.transport.write(b"x" * MUCH)
            case _:
                self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        if self.received == b"fail at the end":
            raise ValueError


@implementer(IHalfCloseableProtocol)
class HalfClosing(Noting):
    """A connection that goes on when its peer has nothing more to send."""

    has_read_all = False

    def readConnectionLost(self) -> None:
        self.has_read_all = True
        assert self.transport is not None
        self.transport.write(b"still here")

    def writeConnectionLost(self) -> None:
        """Do nothing."""


class Listening:
    """A listener; `connections` are those that it has accepted."""

    def __init__(self, protocol: type[Noting]) -> None:
        self.protocol = protocol
        self.batched = BatchedReactor(reactor)
        self.connections: list[Noting] = []
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._accept  # type: ignore[assignment, method-assign]
        self.port: Any = self.batched.listenTCP(0, factory, 1000, "127.0.0.1")
        self.peers: list[socket.socket] = []

    def connect(self, data: bytes = b"") -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.port.getHost().port), 5)
        peer.setblocking(False)
        self.peers.append(peer)
        if data:
            peer.sendall(data)
        return peer

    async def close(self) -> None:
        for peer in self.peers:
            peer.close()
        await run(until=lambda: all(connection.reason is not None for connection in self.connections))
        await maybeDeferred(self.port.stopListening)

    def _accept(self, _: object) -> Noting:
        self.connections.append(self.protocol())
        return self.connections[-1]


@contextlib.asynccontextmanager
async def opened(protocol: type[Noting] = Noting) -> AsyncIterator[Listening]:
    listening = Listening(protocol)
    try:
        yield listening
    finally:
        await listening.close()
    assert listening.batched not in reactor.getReaders()


def received(peer: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := peer.recv(1 << 16):
            data += more
    return data


@pytest_twisted.ensureDeferred
async def test_what_a_client_sends_first_is_answered_and_so_is_the_rest() -> None:
    async with opened() as listening:
        peer = listening.connect(b"first")
        await run(until=lambda: listening.connections and listening.connections[0].received == b"first")
        peer.sendall(b"second")
        await run(until=lambda: listening.connections[0].received == b"firstsecond")
        await run(turns=2)
        assert received(peer) == b"firstsecond"


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_nothing_at_first_is_waited_for() -> None:
    async with opened() as listening:
        peer = listening.connect()
        await run(until=lambda: listening.connections)
        await run(turns=3)
        peer.sendall(b"late")
        await run(until=lambda: listening.connections[0].received == b"late")


@pytest_twisted.ensureDeferred
async def test_many_connections_are_all_read_from() -> None:
    async with opened() as listening:
        peers = [listening.connect() for _ in range(2 * BATCH + 10)]
        await run(until=lambda: len(listening.connections) == len(peers))
        for peer in peers:
            peer.sendall(b"x")
        await run(until=lambda: all(connection.received == b"x" for connection in listening.connections))


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_closed_by_either_end_ends() -> None:
    async with opened() as listening:
        closed, closing = listening.connect(b"close"), listening.connect(b"x")
        await run(until=lambda: len(listening.connections) == 2)
        closing.close()
        await run(until=lambda: all(connection.reason is not None for connection in listening.connections))
        assert received(closed) == b"closed"
        assert [
            str(connection.reason) for connection in listening.connections if "ConnectionDone" in str(connection.reason)
        ]


@pytest_twisted.ensureDeferred
async def test_a_reset_ends_the_connection() -> None:
    async with opened() as listening:
        peer = listening.connect(b"x")
        await run(until=lambda: listening.connections)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        peer.close()
        await run(until=lambda: listening.connections[0].reason is not None)


@pytest_twisted.ensureDeferred
async def test_an_error_in_a_connection_ends_it_alone(no_errors_are_logged: list[LogEvent]) -> None:
    async with opened() as listening:
        listening.connect(b"fail")
        other = listening.connect(b"x")
        await run(until=lambda: len(listening.connections) == 2 and listening.connections[0].reason is not None)
        other.sendall(b"y")
        await run(until=lambda: listening.connections[1].received == b"xy")
        assert isinstance(listening.connections[0].reason, Failure)
        assert len(no_errors_are_logged) == 1
        no_errors_are_logged.clear()


@pytest_twisted.ensureDeferred
async def test_an_error_at_the_end_of_a_connection_leaves_the_others(no_errors_are_logged: list[LogEvent]) -> None:
    async with opened() as listening:
        ending = listening.connect(b"fail at the end")
        other = listening.connect(b"x")
        await run(until=lambda: len(listening.connections) == 2 and listening.connections[1].received == b"x")
        ending.close()
        await run(until=lambda: listening.connections[0].reason is not None)
        other.sendall(b"y")
        await run(until=lambda: listening.connections[1].received == b"xy")
        assert len(no_errors_are_logged) == 1
        no_errors_are_logged.clear()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_cannot_be_polled_is_disconnected() -> None:
    async with opened() as listening:
        listening.connect(b"x")
        await run(until=lambda: listening.connections)
        transport: Any = listening.connections[0].transport
        transport.pauseProducing()
        listening.batched._poll.register(transport.fileno())  # so that it fails, as it does without memory
        transport.resumeProducing()
        await run(until=lambda: listening.connections[0].reason is not None)


@pytest_twisted.ensureDeferred
async def test_a_large_answer_arrives_whole_while_the_client_reads_slowly() -> None:
    async with opened() as listening:
        peer = listening.connect(b"much")
        size = 0

        def is_whole() -> bool:
            nonlocal size
            with contextlib.suppress(BlockingIOError):
                size += len(peer.recv(1 << 16))
            return size == MUCH

        await run(until=is_whole)


@pytest_twisted.ensureDeferred
async def test_a_paused_connection_is_not_read_from() -> None:
    async with opened() as listening:
        peer = listening.connect(b"x")
        await run(until=lambda: listening.connections and listening.connections[0].received)
        transport: Any = listening.connections[0].transport
        transport.pauseProducing()
        peer.sendall(b"y")
        await run(turns=5)
        assert listening.connections[0].received == b"x"
        transport.resumeProducing()
        transport.resumeProducing()
        await run(until=lambda: listening.connections[0].received == b"xy")


@pytest_twisted.ensureDeferred
async def test_an_aborted_connection_is_closed() -> None:
    async with opened() as listening:
        peer = listening.connect(b"x")
        await run(until=lambda: listening.connections)
        transport: Any = listening.connections[0].transport
        transport.abortConnection()
        await run(until=lambda: listening.connections[0].reason is not None)
        with pytest.raises(ConnectionError):
            received(peer)


@pytest_twisted.ensureDeferred
async def test_a_half_closed_connection_can_still_be_written_to() -> None:
    async with opened(HalfClosing) as listening:
        peer = listening.connect(b"x")
        peer.shutdown(socket.SHUT_WR)
        await run(until=lambda: listening.connections and getattr(listening.connections[0], "has_read_all", False))
        await run(turns=3)
        assert received(peer) == b"xstill here"
        transport: Any = listening.connections[0].transport
        transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_reactor_ends_all_connections_whatever_one_of_them_does(
    no_errors_are_logged: list[LogEvent],
) -> None:
    async with opened() as listening:
        listening.connect(b"fail at the end")
        listening.connect(b"x")
        await run(until=lambda: len(listening.connections) == 2 and listening.connections[1].received == b"x")
        listening.batched.connectionLost(Failure(CONNECTION_DONE))
        assert all(connection.reason is not None for connection in listening.connections)
        assert len(no_errors_are_logged) == 1
        no_errors_are_logged.clear()


@pytest_twisted.ensureDeferred
async def test_a_closed_port_leaves_its_connections() -> None:
    async with opened() as listening:
        peer = listening.connect(b"x")
        await run(until=lambda: listening.connections)
        await maybeDeferred(listening.port.stopListening)
        peer.sendall(b"y")
        await run(until=lambda: listening.connections[0].received == b"xy")


@pytest_twisted.ensureDeferred
async def test_everything_else_is_the_reactors() -> None:
    async with opened() as listening:
        await deferLater(listening.batched, 0.0)  # type: ignore[arg-type]


class Pausing(Noting):
    """A connection that pauses and resumes reading whenever it has received something."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        IPushProducer(self.transport).pauseProducing()
        IPushProducer(self.transport).resumeProducing()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_paused_and_resumed_in_its_first_read_goes_on() -> None:
    async with opened(Pausing) as listening:
        peer = listening.connect(b"first")
        await run(until=lambda: listening.connections and listening.connections[0].received == b"first")
        peer.sendall(b"second")
        await run(until=lambda: listening.connections[0].received == b"firstsecond")
        assert listening.connections[0].reason is None
