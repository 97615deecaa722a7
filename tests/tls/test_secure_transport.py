"""TLS between a transport and the protocol of the content: who closes, who waits, and what is sent when."""

import contextlib
import random
import socket
import ssl
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.tls.secure_transport import SecureTransport
from facaded.tls.server_connection import RECORD_SIZE, ServerConnection
from facaded.web.slow_readers import BUFFER_SIZE, limit_buffers
from tests.tls.secure_ends import ClientEnd, server_context
from tests.web.raw import FullTransport, Transport

MUCH = 4 << 20
"""More bytes than a pair of sockets takes."""

STREAMS = 10_000
"""Random streams of bytes, half of which begin as a real client does."""


class Content(Protocol):
    """Keeps what it gets, and answers each piece with what `answers` has for it."""

    def __init__(self) -> None:
        self.received = b""
        self.has_shaken_hands = False
        self.answers: dict[bytes, list[bytes]] = {}
        self.reason: Failure | None = None
        self.closes_after = b"-"

    def handshakeCompleted(self) -> None:
        self.has_shaken_hands = True

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.received += data
        for answer in self.answers.get(data, ()):
            self.transport.write(answer)
        if data == self.closes_after:
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason


class CountingTransport(Transport):
    """Counts what is written."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)


class Secured:
    """A connection over a transport in memory, and its client."""

    version = ssl.TLSVersion.TLSv1_3

    def __init__(self, transport: type[Transport] = Transport) -> None:
        self.clock = Clock()
        self.content = Content()
        self.below = transport()
        tls = ServerConnection(SSL.Connection(server_context()))
        self.transport: Any = SecureTransport(self.content, tls, self.clock)
        self.transport.makeConnection(self.below)

    @cached_property
    def client(self) -> ClientEnd:
        return ClientEnd(self.version)

    def shake_hands(self) -> "Secured":
        for _ in range(3):
            self.receive(self.client.shake_hands(self.sent()))
        assert self.content.has_shaken_hands
        return self

    def receive(self, data: bytes) -> None:
        if data:
            self.transport.dataReceived(data)

    def sent(self) -> bytes:
        sent: bytes = self.below.value()
        self.below.clear()
        return sent

    def read(self) -> bytes:
        """Return what the client has read, after it has read all that was sent."""
        self.client.receive(self.sent())
        return self.client.content

    def lose(self) -> BaseException | None:
        """End the connection below; return the reason that the content gets."""
        self.transport.connectionLost(Failure(ConnectionDone()))
        assert self.content.reason is not None
        return self.content.reason.value


@pytest.fixture
def secured() -> Secured:
    return Secured().shake_hands()


def test_the_content_has_a_transport_as_without_tls(secured: Secured) -> None:
    for interface in (ITCPTransport, ISSLTransport, IPushProducer):
        assert interface.providedBy(secured.transport)
    assert secured.transport.getPeer() == secured.below.getPeer()


def test_what_is_written_in_one_turn_is_sent_at_once() -> None:
    secured = Secured(CountingTransport).shake_hands()
    writes = secured.below.writes  # type: ignore[attr-defined]
    secured.content.answers[b"?"] = [b"head", b"body"]
    secured.receive(secured.client.send(b"?"))
    assert secured.clock.getDelayedCalls() == []
    assert secured.read() == b"headbody"
    assert secured.below.writes == writes + 1  # type: ignore[attr-defined]


def test_what_is_written_later_is_sent_together_in_the_next_turn(secured: Secured) -> None:
    secured.transport.writeSequence([b"head", b"of"])
    secured.transport.write(b"body")
    assert len(secured.clock.getDelayedCalls()) == 1
    assert secured.read() == b""
    secured.clock.advance(0)
    assert secured.read() == b"headofbody"
    assert secured.clock.getDelayedCalls() == []


def test_a_large_write_is_sent_at_once(secured: Secured) -> None:
    secured.transport.write(b"x" * RECORD_SIZE)
    assert secured.read() == b"x" * RECORD_SIZE


def test_the_server_closes_after_what_it_wrote_and_waits_for_the_client(secured: Secured) -> None:
    secured.transport.write(b"last")
    secured.transport.loseConnection()
    secured.transport.write(b"too late")
    assert (secured.read(), secured.client.has_ended) == (b"last", True)
    secured.receive(secured.client.send(b"still here"))
    assert secured.content.received == b"still here"
    assert not secured.below.disconnecting
    secured.receive(secured.client.close())
    assert secured.below.disconnecting
    assert isinstance(secured.lose(), ConnectionDone)


def test_an_answer_and_the_close_notify_leave_together(secured: Secured) -> None:
    secured.content.answers[b"?"] = [b"answer"]
    secured.content.closes_after = b"?"
    secured.receive(secured.client.send(b"?"))
    assert (secured.read(), secured.client.has_ended) == (b"answer", True)


def test_a_client_that_closes_after_its_request_gets_the_answer(secured: Secured) -> None:
    secured.content.answers[b"?"] = [b"answer"]
    secured.receive(secured.client.send(b"?") + secured.client.close())
    assert (secured.read(), secured.client.has_ended) == (b"answer", True)
    assert secured.below.disconnecting


def test_after_the_client_s_close_nothing_is_read_or_written(secured: Secured) -> None:
    secured.receive(secured.client.close())
    secured.sent()
    secured.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    secured.transport.write(b"answer")
    secured.transport.loseConnection()
    secured.clock.advance(0)
    assert (secured.content.received, secured.sent()) == (b"", b"")
    assert isinstance(secured.lose(), ConnectionDone)


def test_a_connection_that_is_cut_is_reported_as_lost(secured: Secured) -> None:
    assert isinstance(secured.lose(), ConnectionLost)


def test_a_connection_that_is_cut_after_the_server_closed_is_reported_as_lost(secured: Secured) -> None:
    secured.transport.loseConnection()
    assert isinstance(secured.lose(), ConnectionLost)


def test_the_error_of_tls_is_reported(secured: Secured) -> None:
    secured.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert secured.below.disconnecting
    assert isinstance(secured.lose(), SSL.Error)


def test_what_was_written_is_dropped_with_the_connection(secured: Secured) -> None:
    secured.transport.write(b"answer")
    secured.lose()
    assert secured.clock.getDelayedCalls() == []
    secured.transport.write(b"more")
    secured.transport.loseConnection()
    assert secured.clock.getDelayedCalls() == []


@pytest.mark.parametrize("end", ["loseConnection", "abortConnection"])
def test_a_handshake_is_aborted(end: str) -> None:
    secured = Secured()
    hello = secured.client.shake_hands()
    secured.receive(hello[:50])
    getattr(secured.transport, end)()
    assert secured.below.disconnected
    secured.receive(hello[50:])
    assert secured.sent() == b""
    assert secured.content.received == b""


def test_after_an_abort_nothing_is_passed_on(secured: Secured) -> None:
    record = secured.client.send(b"x")
    secured.transport.write(b"answer")
    secured.transport.abortConnection()
    secured.receive(record)
    assert (secured.content.received, secured.sent()) == (b"", b"")
    assert secured.clock.getDelayedCalls() == []


def test_an_abort_between_two_requests_of_a_segment_drops_the_second(secured: Secured) -> None:
    first = secured.content.dataReceived

    def abort(data: bytes) -> None:
        first(data)
        secured.transport.write(b"answer")
        secured.transport.abortConnection()

    secured.content.dataReceived = abort  # type: ignore[method-assign]
    secured.receive(secured.client.send(b"1") + secured.client.send(b"2"))
    assert secured.content.received == b"1"
    assert secured.sent() == b""


class Producing:
    """A producer, which notes whether it is paused."""

    is_paused = False

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False

    def stopProducing(self) -> None:
        """Do nothing."""


def test_with_a_producer_the_connection_closes_when_it_is_unregistered(secured: Secured) -> None:
    secured.transport.registerProducer(Producing(), True)
    secured.transport.loseConnection()
    secured.transport.write(b"last")
    secured.clock.advance(0)
    secured.read()
    assert not secured.client.has_ended
    secured.transport.unregisterProducer()
    assert (secured.read(), secured.client.has_ended) == (b"last", True)


def test_a_paused_producer_does_not_delay_the_end() -> None:
    secured = Secured(FullTransport).shake_hands()
    producer = Producing()
    secured.transport.registerProducer(producer, True)
    secured.transport.write(b"x" * RECORD_SIZE)
    assert producer.is_paused
    secured.receive(secured.client.close())
    assert secured.below.producer is None
    assert secured.below.disconnecting
    secured.transport.unregisterProducer()


def test_reading_is_paused_below(secured: Secured) -> None:
    secured.transport.pauseProducing()
    assert secured.below.producerState == "paused"
    secured.transport.resumeProducing()
    assert secured.below.producerState == "producing"


class OnSocket(Secured):
    """The same on a socket; the reactor does nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        own, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.reactor = MemoryReactorClock()
        self.socket_transport = Connection(own, self.transport, self.reactor)
        self.socket_transport.connected = 1
        self.transport.makeConnection(self.socket_transport)
        limit_buffers(self.transport)

    def sent(self) -> bytes:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while more := self.peer.recv(MUCH):
                data += more
        return data

    def close(self) -> None:
        self.peer.close()
        self.socket_transport.getHandle().close()


@pytest.fixture
def on_socket() -> Iterator[OnSocket]:
    on_socket = OnSocket()
    yield on_socket
    on_socket.close()


def test_what_is_written_is_on_the_socket_at_once(on_socket: OnSocket) -> None:
    on_socket.shake_hands()
    on_socket.content.answers[b"?"] = [b"answer"]
    on_socket.receive(on_socket.client.send(b"?"))
    assert on_socket.read() == b"answer"
    assert not on_socket.reactor.writers


def test_a_slow_reader_pauses_what_writes_and_gets_everything(on_socket: OnSocket) -> None:
    on_socket.shake_hands()
    producer = Producing()
    on_socket.transport.registerProducer(producer, True)
    expected = b""
    while not producer.is_paused:
        expected += bytes([len(expected) // RECORD_SIZE % 256]) * RECORD_SIZE
        on_socket.transport.write(expected[-RECORD_SIZE:])
        assert len(expected) < MUCH
    on_socket.socket_transport.doWrite()
    assert len(on_socket.socket_transport.dataBuffer) < BUFFER_SIZE + 2 * RECORD_SIZE
    while on_socket.reactor.writers:
        on_socket.read()
        on_socket.socket_transport.doWrite()
    assert on_socket.read() == expected
    assert not producer.is_paused


def _streams() -> Iterator[tuple[bytes, int]]:
    """Yield streams, each with a place to split it."""
    chance = random.Random(14)
    hello = ClientEnd().shake_hands()
    for number in range(STREAMS):
        stream = bytearray(hello if number % 2 else chance.randbytes(chance.randrange(1, 60)))
        if not number % 4:
            stream[:3] = b"\x16\x03\x01"
        for _ in range(chance.randrange(1, 4)):
            stream[chance.randrange(len(stream))] = chance.randrange(256)
        yield bytes(stream), chance.randrange(len(stream))


def test_10_000_random_streams_wait_for_more_or_end_without_a_line_in_the_log() -> None:
    lines: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(event)

    globalLogPublisher.addObserver(observe)
    ended = 0
    for stream, cut in _streams():
        secured = Secured()
        secured.receive(stream[:cut])
        secured.receive(stream[cut:])
        assert len(secured.sent()) < RECORD_SIZE
        ended += secured.below.disconnecting
        secured.lose()
        assert not secured.content.received
    globalLogPublisher.removeObserver(observe)
    assert STREAMS // 2 < ended < STREAMS
    assert not lines


def test_records_before_tls_1_3_work_too() -> None:
    secured = Secured()
    secured.version = ssl.TLSVersion.TLSv1_2
    secured.shake_hands()
    secured.content.answers[b"?"] = [b"answer"]
    secured.receive(secured.client.send(b"?"))
    assert secured.read() == b"answer"
