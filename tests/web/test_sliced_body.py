"""Large answers are written as the client reads them, within the memory for unread answers."""

from collections.abc import Iterator

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.reached_limits import LOG_INTERVAL, ReachedLimits
from facaded.policy.limits import Limit, Limits
from facaded.web.answer_bytes import WHOLE_SIZE
from facaded.web.channel import BODY_SIZE, BODY_TIME
from facaded.web.responses import respond
from facaded.web.server import BoundedSite
from facaded.web.sliced_body import SLICE_SIZE
from facaded.web.unsent_bytes import UnsentBytes
from tests.web.raw import Connection, FullTransport

BODY = bytes(range(256)) * (4 * SLICE_SIZE // 256) + b"end"
GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


class Large(Resource):
    """Answers each request with BODY and the status in its path; a request for `/small` with two bytes."""

    isLeaf = True

    def render(self, request: Request) -> int:
        if request.path == b"/small":
            respond(request, 200, {}, b"{}")
        else:
            respond(request, int(request.path[1:]), {}, BODY)
        return NOT_DONE_YET


class Server:
    """A site with a clock and limits."""

    def __init__(self, limits: Limits) -> None:
        self.clock = Clock()
        self.reached = ReachedLimits(self.clock)
        self.unsent = UnsentBytes(limits, self.reached)
        self.sizes: list[int] = []
        self.site = BoundedSite(
            Large(), self.clock, [lambda answered: self.sizes.append(answered.bytes)], unsent=self.unsent
        )

    def connect(self, address: str = "192.0.2.7") -> Connection:
        return Connection(self.site, address, FullTransport)

    def read(self, connection: Connection) -> bytes:
        """Read until nothing more comes."""
        assert isinstance(connection.transport, FullTransport)
        received = b""
        while part := connection.transport.drain():
            received += part
            self.clock.advance(0)
        return received


@pytest.fixture
def server() -> Server:
    return Server(Limits())


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    connection = server.connect()
    yield connection
    connection.lose()
    assert server.clock.getDelayedCalls() == []
    assert server.unsent.used == 0


def test_a_client_that_does_not_read_has_one_slice_in_memory(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(GET % 200)
    server.clock.advance(1)
    head, _, body = connection.transport.value().partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(BODY) in head
    assert body == BODY[:SLICE_SIZE]
    assert server.unsent.used == len(BODY) + SLICE_SIZE


def test_a_client_that_reads_gets_all_of_it(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(GET % 200)
    assert server.read(connection).endswith(b"\r\n\r\n" + BODY)
    assert server.unsent.used == 0
    assert server.sizes == [len(BODY)]


def test_pipelined_requests_are_answered_one_after_the_other(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(GET % 200 + b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n" + GET % 404)
    assert b"{}" not in connection.transport.value()
    _, first, second, third = server.read(connection).split(b"HTTP/1.1 ")
    assert first.endswith(BODY)
    assert second.endswith(b"\r\n\r\n{}")
    assert third.startswith(b"404 ")
    assert third.endswith(BODY)


@pytest.mark.parametrize("request_", [b"HEAD /200 HTTP/1.1\r\nHost: x\r\n\r\n", GET % 304])
def test_an_answer_without_a_body_needs_no_memory(server: Server, connection: Connection, request_: bytes) -> None:
    connection.channel.dataReceived(request_)
    assert server.unsent.used == 0
    assert server.read(connection).endswith(b"\r\n\r\n")
    assert server.sizes == [0]


def test_a_client_that_disconnects_frees_the_memory(server: Server) -> None:
    connection = server.connect()
    connection.channel.dataReceived(GET % 200)
    connection.lose()
    assert server.unsent.used == 0
    assert server.clock.getDelayedCalls() == []


def test_nothing_more_is_written_to_a_connection_that_is_being_closed(server: Server) -> None:
    connection = server.connect()
    connection.channel.dataReceived(GET % 200)
    connection.channel.close()
    assert server.read(connection).endswith(BODY[:SLICE_SIZE])
    server.clock.advance(0)
    assert connection.transport.value() == b""
    connection.lose()


def test_an_answer_that_does_not_fit_is_503_and_noted() -> None:
    server = Server(Limits(unsent_bytes=len(BODY) + 2 * SLICE_SIZE))
    connections = [server.connect() for _ in range(3)]
    for connection in connections:
        connection.channel.dataReceived(GET % 200)
    answer = connections[2].transport.value()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5\r\n" in answer
    assert b'"code":"UNAVAILABLE"' in answer.replace(b" ", b"")
    assert [(limit, noted.subject) for limit, noted in server.reached.all().items()] == [
        (Limit.UNSENT_BYTES, "192.0.2.7")
    ]


def test_a_source_that_reads_slowly_does_not_keep_the_memory_from_another() -> None:
    server = Server(Limits(unsent_bytes=len(BODY) + 3 * SLICE_SIZE))
    slow = [server.connect() for _ in range(3)]
    for connection in slow:
        connection.channel.dataReceived(GET % 200)
    honest = server.connect("192.0.2.8")
    honest.channel.dataReceived(GET % 200)
    assert server.read(honest).endswith(BODY)
    assert [connection.transport.disconnected for connection in slow] == [True, False, False]
    for connection in slow[1:]:
        connection.lose()
    assert server.unsent.used == 0


def test_a_small_answer_is_written_when_nothing_fits() -> None:
    connection = Server(Limits(unsent_bytes=1)).connect()
    assert connection.send(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"{}")
    assert WHOLE_SIZE < SLICE_SIZE


def test_a_client_that_takes_nothing_is_disconnected(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(GET % 200)
    server.clock.pump([1] * 9)
    assert not connection.transport.disconnected
    server.clock.advance(1)
    assert connection.transport.disconnected
    assert [(limit, noted.subject) for limit, noted in server.reached.all().items()] == [
        (Limit.STALL_TIME, "192.0.2.7")
    ]
    server.clock.advance(LOG_INTERVAL)


def test_a_client_that_reads_now_and_then_is_not_disconnected(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(GET % 200)
    assert isinstance(connection.transport, FullTransport)
    for _ in range(4):
        server.clock.advance(9)
        connection.transport.drain()
        server.clock.advance(0)
    assert not connection.transport.disconnected
    assert server.reached.all() == {}


def test_a_client_that_pipelines_and_reads_nothing_is_disconnected(server: Server, connection: Connection) -> None:
    connection.channel.dataReceived(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    assert connection.transport.value().count(b"HTTP/1.1 200") == 1
    server.clock.pump([1] * 10)
    assert connection.transport.disconnected
    server.clock.advance(LOG_INTERVAL)


def test_a_client_that_has_read_the_last_answer_does_not_count_as_one_that_takes_nothing(server: Server) -> None:
    connection = server.connect()
    connection.send(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert connection.closed
    server.clock.pump([1] * 14)
    assert server.reached.all() == {}
    connection.lose()


@pytest.mark.parametrize("length", [b"9\r\nExpect: 100-continue", b"1000000", b"9"])
def test_an_answer_before_the_body_of_its_request_is_written_to_its_end(
    server: Server, connection: Connection, length: bytes
) -> None:
    connection.channel.dataReceived(b"GET /200 HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n")
    if length == b"1000000":
        connection.channel.dataReceived(bytes(BODY_SIZE + 1))
    server.clock.advance(BODY_TIME)
    assert server.read(connection).endswith(b"\r\n\r\n" + BODY)
    server.clock.advance(BODY_TIME)
    assert connection.closed
