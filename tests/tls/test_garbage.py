"""Closed connections leave nothing to Python's garbage collector: OpenSSL's part of one takes 34 KiB."""

import gc
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from facaded.web.server import BoundedSite
from tests.tls.test_secure_factory import TlsClient, TlsServer
from tests.web.raw import Transport

CONNECTIONS = 10
GET = b"GET /x HTTP/1.1\r\nHost: docker.lab.test\r\n\r\n"


@pytest.fixture
def _without_collections() -> Iterator[None]:
    """Collect only when the test does, and look only at what it makes.

    What was frozen stays so: what other tests have left would fail this one.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


def _plain(server: TlsServer) -> None:
    site = BoundedSite(server.facade, server.clock, admission=server.site.admission)
    channel, transport = site.buildProtocol(None), Transport()
    channel.makeConnection(transport)
    channel.dataReceived(GET)
    transport.producer = None
    channel.connectionLost(Failure(ConnectionDone()))


def _answered(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.send(GET)
    _lose(client)


def _closed(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.protocol.loseConnection()
    _lose(client)


def _without_tls(server: TlsServer) -> None:
    client = TlsClient(server)
    client.protocol.dataReceived(GET)
    _lose(client)


def _broken(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.protocol.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
    _lose(client)


def _in_progress(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.send(GET.replace(b"/x", b"/later"))
    _lose(client)
    server.facade.pending.clear()


def _lose(client: TlsClient) -> None:
    client.transport.producer = None  # as a transport with a socket does
    client.lose()


@pytest.mark.usefixtures("_without_collections")
@pytest.mark.parametrize("connect", [_plain, _answered, _closed, _without_tls, _broken, _in_progress])
def test_a_closed_connection_is_no_garbage(connect: Callable[[TlsServer], None]) -> None:
    server = TlsServer()
    connect(server)
    gc.collect()
    for _ in range(CONNECTIONS):
        connect(server)
    assert gc.collect() < CONNECTIONS
