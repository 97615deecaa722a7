"""Whether a client takes anything, by what its socket has left to send."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limits
from facaded.web.slow_readers import (
    BUFFER_SIZE,
    CHECKS,
    KERNEL_BUFFER_SIZE,
    StallTimer,
    limit_buffers,
    limit_kernel_buffers,
)
from facaded.web.unsent_bytes import UnsentBytes

STALL_TIME = 10.0

READ_SIZE = 4096


class SocketTransport(FileDescriptor):
    """One end of a pair of sockets; `peer` is the client's."""

    def __init__(self, reactor: MemoryReactorClock) -> None:
        super().__init__(reactor)
        self._own, self.peer = socket.socketpair()
        self._own.setblocking(False)
        self.peer.setblocking(False)
        self.connected = 1

    def fileno(self) -> int:
        return self._own.fileno()

    def writeSomeData(self, data: bytes) -> int:
        sent = 0
        with contextlib.suppress(BlockingIOError):  # full
            while sent < len(data):  # in small pieces, because the kernel counts a piece until all of it is read
                sent += self._own.send(data[sent : sent + READ_SIZE])
        return sent

    def getPeer(self) -> None:
        """Return no address, as a Unix socket has none."""

    def close(self) -> None:
        self._own.close()
        self.peer.close()


class Stalling:
    """A transport that is full, and its timer."""

    def __init__(self) -> None:
        self.clock = MemoryReactorClock()
        self.transport = SocketTransport(self.clock)
        self.reached = ReachedLimits(self.clock)
        self.aborted = False
        unsent = UnsentBytes(Limits(stall_time=STALL_TIME), self.reached)
        self.timer = StallTimer(self.transport, self.clock, unsent, self.abort)
        self.transport.write(b"x" * (1 << 20))
        self.transport.doWrite()
        self.timer.start()

    def abort(self) -> None:
        self.aborted = True

    def advance(self, seconds: float) -> None:
        self.clock.pump([STALL_TIME / CHECKS / 2] * round(seconds * CHECKS * 2 / STALL_TIME))


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    stalling = Stalling()
    yield stalling
    stalling.timer.stop()
    stalling.transport.close()


def test_a_client_that_reads_nothing_is_aborted(stalling: Stalling) -> None:
    stalling.advance(STALL_TIME - 1)
    assert not stalling.aborted
    stalling.advance(1)
    assert stalling.aborted


def test_a_client_that_reads_what_the_kernel_holds_is_not_aborted(stalling: Stalling) -> None:
    for _ in range(3):
        stalling.advance(STALL_TIME - 1)
        assert stalling.transport.peer.recv(READ_SIZE)
    assert not stalling.aborted


def test_a_client_is_not_aborted_if_the_kernel_holds_as_much_as_before(stalling: Stalling) -> None:
    for _ in range(3):
        stalling.advance(STALL_TIME - 1)
        stalling.transport.peer.recv(READ_SIZE)
        stalling.transport.doWrite()
    assert not stalling.aborted


def test_a_client_that_reads_no_more_is_aborted(stalling: Stalling) -> None:
    stalling.advance(STALL_TIME - 1)
    stalling.transport.peer.recv(READ_SIZE)
    stalling.advance(2 * STALL_TIME)
    assert stalling.aborted


def test_a_client_that_has_read_the_buffer_is_not_watched(stalling: Stalling) -> None:
    stalling.timer.stop()
    stalling.advance(2 * STALL_TIME)
    assert not stalling.aborted


def test_a_transport_below_wrappers_buffers_little(stalling: Stalling) -> None:
    wrapper: Any = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
    wrapper.transport = stalling.transport
    limit_buffers(wrapper)
    assert stalling.transport.bufferSize == BUFFER_SIZE


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_tcp_connection_takes_little_ahead_of_the_client_s_window(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as listening:
        limit_kernel_buffers(listening)
        with socket.create_connection(listening.getsockname()[:2], 5), listening.accept()[0] as own:
            assert own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == KERNEL_BUFFER_SIZE
