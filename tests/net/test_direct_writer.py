"""What is sent at once on a socket, and what is left to Twisted's transport."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from facaded.net.direct_writer import WAITING_SIZE, DirectWriter

MUCH = 4 << 20
"""More bytes than a pair of sockets takes."""


class Connected:
    """A connection whose other end, `peer`, the test reads. The reactor does nothing by itself."""

    def __init__(self) -> None:
        own, self.peer = socket.socketpair()
        self.peer.setblocking(False)
        self.connection: Any = Connection(own, Protocol(), MemoryReactorClock())
        self.connection.connected = 1
        self.writer = DirectWriter(self.connection)

    def received(self) -> bytes:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while more := self.peer.recv(MUCH):
                data += more
        return data

    def received_in_turns(self) -> bytes:
        """Return what arrives while the reactor lets the transport send."""
        data = self.received()
        while self.connection.reactor.writers:
            self.connection.doWrite()
            data += self.received()
        return data

    def close(self) -> None:
        self.peer.close()
        if self.connection.connected:
            self.connection.getHandle().close()


class Encrypting(ProtocolWrapper):
    """A wrapper that changes what is written, as TLS does."""

    transport: Any

    def write(self, data: bytes) -> None:
        self.transport.write(b"cipher")


@pytest.fixture
def connected() -> Iterator[Connected]:
    connected = Connected()
    yield connected
    connected.close()


def test_what_the_socket_takes_is_sent_at_once(connected: Connected) -> None:
    connected.writer.write(b"one")
    connected.writer.write(b"two")
    assert connected.received() == b"onetwo"


def test_what_the_socket_does_not_take_is_left_to_the_transport(connected: Connected) -> None:
    data = bytes(range(256)) * (MUCH // 256)
    connected.writer.write(data)
    assert connected.received_in_turns() == data


def test_nothing_overtakes_what_the_transport_has(connected: Connected) -> None:
    connected.writer.write(b"x" * MUCH)
    connected.received()
    connected.writer.write(b"last")
    assert connected.received() == b"", "the transport has not sent the rest"
    assert connected.received_in_turns().endswith(b"xlast")


def test_after_a_stop_nothing_is_sent_directly(connected: Connected) -> None:
    connected.writer.stop()
    connected.connection.write(b"one")
    connected.writer.write(b"two")
    assert connected.received() == b""
    assert connected.received_in_turns() == b"onetwo"


def test_nothing_is_sent_directly_when_the_connection_is_closing(connected: Connected) -> None:
    connected.connection.loseConnection()
    connected.writer.write(b"late")
    assert connected.received() == b""


def test_a_client_that_is_gone_ends_the_connection_in_the_transport(connected: Connected) -> None:
    connected.peer.close()
    connected.writer.write(b"x")
    assert isinstance(connected.connection.doWrite(), Exception)


def test_a_socket_that_is_closed_sends_nothing(connected: Connected) -> None:
    connected.connection.getHandle().close()
    connected.writer.write(b"x")
    assert connected.received() == b""


def test_without_a_socket_the_transport_writes() -> None:
    transport: Any = StringTransport()
    writer = DirectWriter(transport)
    writer.write(b"x")
    assert transport.value() == b"x"


def test_a_wrapper_that_passes_writes_on_is_bypassed(connected: Connected) -> None:
    wrapper: Any = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
    wrapper.transport = connected.connection
    DirectWriter(wrapper).write(b"x")
    assert connected.received() == b"x"


def test_nothing_bypasses_encryption(connected: Connected) -> None:
    wrapper: Any = Encrypting(WrappingFactory(Factory()), Protocol())
    wrapper.transport = connected.connection
    DirectWriter(wrapper).write(b"secret")
    assert connected.received_in_turns() == b"cipher"


class InBatch(MemoryReactorClock):
    """A reactor in whose batch everything happens until `end`."""

    def __init__(self) -> None:
        super().__init__()
        self.postponed: list[Callable[[], None]] = []

    def postpone(self, send: Callable[[], None]) -> bool:
        self.postponed.append(send)
        return True

    def end(self) -> None:
        for send in self.postponed:
            send()


@pytest.fixture
def in_batch(connected: Connected) -> Connected:
    connected.connection.reactor = InBatch()
    connected.writer = DirectWriter(connected.connection)
    return connected


def test_what_is_written_in_a_batch_is_sent_once_at_its_end(in_batch: Connected) -> None:
    in_batch.writer.write(b"one")
    in_batch.writer.write(b"two")
    assert in_batch.received() == b""
    assert len(in_batch.connection.reactor.postponed) == 1
    in_batch.connection.reactor.end()
    assert in_batch.received() == b"onetwo"


def test_no_more_than_a_little_waits_for_the_end_of_the_batch(in_batch: Connected) -> None:
    in_batch.writer.write(b"x" * WAITING_SIZE)
    assert in_batch.received() == b""
    in_batch.writer.write(b"y")
    assert in_batch.received() == b"x" * WAITING_SIZE + b"y", "in their order"
    in_batch.writer.write(b"z" * (WAITING_SIZE + 1))
    assert in_batch.received() == b"z" * (WAITING_SIZE + 1)
    in_batch.connection.reactor.end()
    assert in_batch.received() == b""


def test_a_stop_or_a_flush_sends_what_waits_for_the_end_of_the_batch(in_batch: Connected) -> None:
    in_batch.writer.write(b"one")
    in_batch.writer.flush()
    in_batch.writer.write(b"two")
    in_batch.writer.stop()
    in_batch.connection.write(b"three")
    assert in_batch.received() == b"onetwo"
    in_batch.connection.reactor.end()
    assert in_batch.received_in_turns() == b"three"


def test_what_the_socket_does_not_take_at_the_end_of_a_batch_is_left_to_the_transport(in_batch: Connected) -> None:
    size = 0
    while not in_batch.connection.reactor.writers:  # until the socket is full
        in_batch.writer.write(b"x" * WAITING_SIZE)
        in_batch.connection.reactor.end()
        size += WAITING_SIZE
    in_batch.writer.write(b"!")
    assert in_batch.received_in_turns() == b"x" * size + b"!"


def test_what_waits_for_a_connection_that_has_ended_is_dropped(in_batch: Connected) -> None:
    in_batch.writer.write(b"x")
    in_batch.connection.connectionLost(Failure(ConnectionDone()))
    in_batch.connection.reactor.end()
    assert in_batch.received() == b""


@given(st.lists(st.integers(0, 300_000), max_size=12), st.integers(0, 12))
def test_every_byte_arrives_in_order(sizes: list[int], stop_before: int) -> None:
    connected = Connected()
    expected = b""
    for index, size in enumerate(sizes):
        if index == stop_before:
            connected.writer.stop()
        data = bytes([index]) * size
        expected += data
        connected.writer.write(data)
    assert connected.received_in_turns() == expected
    connected.close()
