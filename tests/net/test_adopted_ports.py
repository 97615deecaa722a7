"""Listening sockets that another process has opened: they outlive the port, and connections are read in batches."""

import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IFileDescriptor
from twisted.internet.protocol import Factory, Protocol

from facaded.net.batched_reactor import BatchedReactor, BatchedTransport
from tests.net.waiting import reactor, run

ESTABLISHED = b"\x01"
"""The state of a connection in the first byte of TCP_INFO: tcp(7)."""

ADDRESSES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


class Echo(Protocol):
    """A connection that answers what it receives, and is added to those of its factory."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, Echoes)
        self.factory.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Echoes(Factory[Echo]):
    """Makes Echo connections."""

    protocol = Echo
    noisy = False

    def __init__(self) -> None:
        self.connections: list[Echo] = []


@contextlib.asynccontextmanager
async def adopted(owner: socket.socket) -> AsyncIterator[Echoes]:
    """Listen on a socket until the end of the block."""
    batched, echoes = BatchedReactor(reactor), Echoes()
    port = batched.adoptStreamPort(owner.fileno(), owner.family, echoes)
    assert IFileDescriptor.providedBy(port)
    assert port.fileno() != owner.fileno()
    assert port.getHost().port == owner.getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield echoes
    finally:
        for connection in echoes.connections:
            assert connection.transport is not None
            connection.transport.loseConnection()
        await maybeDeferred(port.stopListening)
        await run(until=lambda: batched not in reactor.getReaders())


def opened(family: socket.AddressFamily, host: str, backlog: int) -> socket.socket:
    owner = socket.socket(family)
    owner.bind((host, 0))
    owner.listen(backlog)
    owner.setblocking(False)
    return owner


async def echoed(owner: socket.socket, peer: socket.socket) -> bytes:
    received: list[bytes] = []

    def is_received() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.append(peer.recv(10))
        return bool(received)

    peer.setblocking(False)
    await run(until=is_received)
    return received[0]


@pytest.mark.parametrize(("family", "host"), ADDRESSES)
@pytest_twisted.ensureDeferred
async def test_its_connections_are_those_of_a_batched_reactor(family: socket.AddressFamily, host: str) -> None:
    with opened(family, host, 10) as owner, socket.socket(family) as peer:
        async with adopted(owner) as echoes:
            peer.connect(owner.getsockname()[:2])
            peer.sendall(b"hello")
            assert await echoed(owner, peer) == b"hello"
            transport = echoes.connections[0].transport
            assert isinstance(transport, BatchedTransport)
            assert transport.getPeer().host == host


@pytest.mark.parametrize(("family", "host"), ADDRESSES)
@pytest_twisted.ensureDeferred
async def test_what_connects_between_two_ports_waits_in_the_socket(family: socket.AddressFamily, host: str) -> None:
    with opened(family, host, 10) as owner, socket.socket(family) as peer:
        async with adopted(owner):
            pass
        peer.connect(owner.getsockname()[:2])
        peer.sendall(b"hello")
        async with adopted(owner):
            assert await echoed(owner, peer) == b"hello"


@pytest_twisted.ensureDeferred
async def test_it_keeps_the_backlog_of_its_owner() -> None:
    with opened(socket.AF_INET, "127.0.0.1", 0) as owner, contextlib.ExitStack() as stack:
        async with adopted(owner):
            pass
        peers = [stack.enter_context(socket.socket()) for _ in range(5)]
        for peer in peers:
            peer.setblocking(False)
            peer.connect_ex(owner.getsockname())
        await run(turns=5)
        states = [peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) for peer in peers]
        assert states.count(ESTABLISHED) == 1, "one connection waits: the kernel drops the others"
