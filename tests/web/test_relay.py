"""Relayed bodies: passed on as they arrive, at the client's speed, and ended when either side ends."""

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.reached_limits import LOG_INTERVAL, ReachedLimits
from facaded.net.client import StreamedResponse
from facaded.policy.limits import Limits
from facaded.web.relay import BUFFERED, STALL_TIME, relay
from facaded.web.server import BoundedSite
from facaded.web.unsent_bytes import UnsentBytes
from tests.web.raw import Connection


class Response:
    """A backend's response whose body the tests deliver."""

    def __init__(self) -> None:
        self.transport = StringTransport()

    def deliverBody(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)


class Relaying(Resource):
    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.response = Response()

    def render(self, request: Request) -> int:
        streamed = StreamedResponse(206, Headers(), self.response)  # type: ignore[arg-type]  # only deliverBody is used
        relay(request, 206, {"Content-Length": "6", "Content-Range": "bytes 0-5/9"}, streamed)
        return NOT_DONE_YET


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resource() -> Relaying:
    return Relaying()


@pytest.fixture
def connection(resource: Relaying, clock: Clock) -> Connection:
    connection = Connection(BoundedSite(resource, clock))
    assert connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    return connection


def close_and_check_timers(connection: Connection, clock: Clock) -> None:
    connection.lose()
    assert clock.getDelayedCalls() == []


def test_a_body_is_passed_on_as_it_arrives(connection: Connection, resource: Relaying, clock: Clock) -> None:
    resource.response.protocol.dataReceived(b"abc")
    answer = connection.received()
    assert answer.startswith(b"HTTP/1.1 206 ")
    assert b"Content-Range: bytes 0-5/9\r\n" in answer
    assert answer.endswith(b"\r\n\r\nabc")
    resource.response.protocol.dataReceived(b"def")
    assert connection.received() == b"def"
    site = connection.channel.site
    assert isinstance(site, BoundedSite)
    assert site.relayed_bytes == len(b"abcdef")
    resource.response.protocol.connectionLost(Failure(ResponseDone()))
    assert not connection.closed
    close_and_check_timers(connection, clock)


def test_a_slow_client_pauses_the_backend(connection: Connection, resource: Relaying, clock: Clock) -> None:
    connection.channel.pauseProducing()
    assert resource.response.transport.producerState == "paused"
    connection.channel.resumeProducing()
    assert resource.response.transport.producerState == "producing"
    close_and_check_timers(connection, clock)


def test_a_client_that_disconnects_stops_the_backend_s_body(
    connection: Connection, resource: Relaying, clock: Clock
) -> None:
    resource.response.protocol.dataReceived(b"abc")
    close_and_check_timers(connection, clock)
    assert resource.response.transport.producerState == "stopped"
    resource.response.protocol.dataReceived(b"def")
    resource.response.protocol.connectionLost(Failure(ConnectionLost()))


def test_a_body_that_breaks_off_aborts_the_client_s_connection(
    connection: Connection, resource: Relaying, clock: Clock
) -> None:
    resource.response.protocol.dataReceived(b"abc")
    resource.response.protocol.connectionLost(Failure(ConnectionLost()))
    assert connection.transport.disconnected
    close_and_check_timers(connection, clock)


def test_a_body_that_stalls_is_aborted(connection: Connection, resource: Relaying, clock: Clock) -> None:
    clock.advance(STALL_TIME - 1)
    resource.response.protocol.dataReceived(b"abc")
    clock.advance(STALL_TIME - 1)
    assert not connection.transport.disconnected
    clock.advance(1)
    assert connection.transport.disconnected
    assert resource.response.transport.producerState == "stopped"
    close_and_check_timers(connection, clock)


def test_a_backend_may_be_silent_while_the_client_does_not_read(
    connection: Connection, resource: Relaying, clock: Clock
) -> None:
    resource.response.protocol.dataReceived(b"abc")
    connection.channel.pauseProducing()
    resource.response.protocol.dataReceived(b"d")
    clock.advance(2 * STALL_TIME)
    assert not connection.transport.disconnected
    connection.channel.resumeProducing()
    clock.advance(STALL_TIME)
    assert connection.transport.disconnected
    close_and_check_timers(connection, clock)


def test_a_client_that_takes_nothing_is_disconnected(resource: Relaying, clock: Clock) -> None:
    unsent = UnsentBytes(Limits(), ReachedLimits(clock))
    connection = Connection(BoundedSite(resource, clock, unsent=unsent))
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert unsent.used == BUFFERED
    connection.channel.pauseProducing()
    clock.pump([1] * 10)
    assert connection.transport.disconnected
    connection.lose()
    assert unsent.used == 0
    clock.advance(LOG_INTERVAL)
    assert clock.getDelayedCalls() == []


def test_a_relay_that_does_not_fit_the_memory_is_refused(resource: Relaying, clock: Clock) -> None:
    unsent = UnsentBytes(Limits(unsent_bytes=BUFFERED - 1), ReachedLimits(clock))
    connection = Connection(BoundedSite(resource, clock, unsent=unsent))
    answer = connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert resource.response.transport.producerState == "stopped"
