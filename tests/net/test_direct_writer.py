"""What is sent at once on a socket, and what is left to Twisted's transport."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from facaded.net.direct_writer import DirectWriter

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
