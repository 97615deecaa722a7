"""What happens in one batch: everything is read, then passed on, then sent; with real sockets."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from facaded.net.batched_reactor import BatchedReactor
from facaded.net.direct_writer import DirectWriter
from tests.net.waiting import reactor, run


class Answering(Protocol):
    """A connection that answers each piece with itself, directly; then it calls `then`."""

    writer: DirectWriter | None = None

    def __init__(self, then: Callable[["Answering"], None]) -> None:
        self.then = then
        self.pieces: list[bytes] = []
        self.has_ended = False

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.pieces.append(data)
        self.writer = self.writer or DirectWriter(self.transport)
        self.writer.write(data)
        self.then(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.has_ended = True


class Pair:
    """Two connections of one listener, and their peers. What they receive comes in one batch."""

    def __init__(self) -> None:
        self.batched = BatchedReactor(reactor)
        self.connections: list[Answering] = []
        self.then: Callable[[Answering], None] = lambda connection: None
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = self._accept  # type: ignore[assignment, method-assign]
        self.port: Any = self.batched.listenTCP(0, factory, 10, "127.0.0.1")
        self.peers: list[socket.socket] = []

    def _accept(self, _: object) -> Answering:
        self.connections.append(Answering(lambda connection: self.then(connection)))
        return self.connections[-1]

    async def connect(self) -> None:
        for _ in range(2):
            peer = socket.create_connection(("127.0.0.1", self.port.getHost().port), 5)
            peer.setblocking(False)
            self.peers.append(peer)
        await run(until=lambda: len(self.connections) == 2)

    async def receive(self, first: bytes = b"one", second: bytes = b"two") -> list[bytes]:
        """Let both connections receive something in one batch, and return what their peers get."""
        for peer, data in zip(self.peers, (first, second), strict=True):
            peer.sendall(data)
        await run(until=lambda: all(connection.pieces for connection in self.connections))
        await run(turns=2)
        return [taken(peer) for peer in self.peers]

    async def close(self) -> None:
        for peer in self.peers:
            peer.close()
        await run(until=lambda: all(connection.has_ended for connection in self.connections))
        await maybeDeferred(self.port.stopListening)


def taken(peer: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while more := peer.recv(1 << 16):
            data += more
    return data


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    pair = Pair()
    try:
        await pair.connect()
        yield pair
    finally:
        await pair.close()


@pytest_twisted.ensureDeferred
async def test_all_connections_are_read_before_anything_is_passed_on() -> None:
    async with connected() as pair:

        def send_more(connection: Answering) -> None:
            if len(pair.connections[0].pieces) + len(pair.connections[1].pieces) == 1:
                for peer in pair.peers:
                    peer.sendall(b" more")

        pair.then = send_more
        await pair.receive()
        assert sorted(connection.pieces[0] for connection in pair.connections) == [b"one", b"two"]
        await run(until=lambda: all(connection.pieces[1:] == [b" more"] for connection in pair.connections))


@pytest_twisted.ensureDeferred
async def test_answers_are_sent_at_the_end_of_the_batch() -> None:
    async with connected() as pair:
        sent_before: list[bytes] = []
        pair.then = lambda connection: sent_before.extend(map(taken, pair.peers))
        assert await pair.receive() == [b"one", b"two"]
        assert sent_before == [b""] * 4
        assert not pair.batched.postpone(lambda: None), "no batch is in progress now"


@pytest_twisted.ensureDeferred
async def test_an_answer_is_sent_although_another_connection_of_the_batch_is_aborted() -> None:
    async with connected() as pair:

        def fail(connection: Answering) -> None:
            if connection.pieces == [b"two"]:
                connection.transport.abortConnection()  # type: ignore[union-attr]

        pair.then = fail
        assert (await pair.receive())[0] == b"one"


@pytest_twisted.ensureDeferred
async def test_a_connection_that_ends_before_the_end_of_its_batch_hinders_no_other() -> None:
    async with connected() as pair:

        def end_both(_: Answering) -> None:
            for connection in pair.connections:
                if not connection.has_ended:
                    connection.transport.connectionLost(Failure(ConnectionDone()))  # type: ignore[union-attr]

        pair.then = end_both
        for peer in pair.peers:
            peer.sendall(b"x")
        await run(until=lambda: all(connection.has_ended for connection in pair.connections))
        assert sum(len(connection.pieces) for connection in pair.connections) == 1, "the other had ended by then"


@pytest_twisted.ensureDeferred
async def test_a_send_that_fails_hinders_no_other(no_errors_are_logged: list[LogEvent]) -> None:
    async with connected() as pair:

        def fail() -> None:
            raise ValueError

        def postpone(_: Answering) -> None:
            pair.batched.postpone(fail)

        pair.then = postpone
        assert await pair.receive() == [b"one", b"two"]
        assert [event["log_format"] for event in no_errors_are_logged] == ["internal error in a connection"] * 2
        no_errors_are_logged.clear()
        transport: Any = pair.connections[0].transport
        pair.batched.addWriter(transport)
        assert transport in reactor.getWriters(), "no batch is in progress any more"
        pair.batched.removeWriter(transport)
