"""The channel refuses what is malformed, too large or too slow."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.reached_limits import LOG_INTERVAL
from facaded.policy.limits import Limits
from facaded.web.channel import BODY_SIZE, BODY_TIME, Channel
from facaded.web.responses import respond
from facaded.web.server import BoundedSite
from facaded.web.strict_channel import BAD_REQUEST
from tests.web.raw import Connection

LIMITS = Limits()


class Echo(Resource):
    """Answers with the method and the target, but leaves requests for `/later` unanswered."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.unanswered: list[Request] = []

    def render(self, request: Request) -> int:
        if request.uri == b"/later":
            self.unanswered.append(request)
        else:
            respond(request, 200, {}, request.method + b" " + request.uri)
        return NOT_DONE_YET


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resource() -> Echo:
    return Echo()


@pytest.fixture
def site(clock: Clock, resource: Echo) -> BoundedSite:
    return BoundedSite(resource, clock)


@pytest.fixture
def connection(site: BoundedSite, clock: Clock) -> Iterator[Connection]:
    connection = Connection(site)
    yield connection
    connection.lose()
    clock.advance(LOG_INTERVAL)
    assert clock.getDelayedCalls() == []
    assert site.channels == set()


def test_a_request_is_answered_and_the_connection_stays_open(connection: Connection) -> None:
    for _ in range(3):
        answer = connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nGET /a")
    assert not connection.closed


def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    answer = connection.send(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.index(b"GET /1") < answer.index(b"GET /2")
    assert answer.count(b"HTTP/1.1 200") == 2


def test_an_answer_to_head_has_the_length_but_no_body(connection: Connection) -> None:
    answer = connection.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 3\r\n\r\nabc",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
        b" GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /v2/\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2/ HTTP/2.0\r\nHost: a\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16",
    ],
)
def test_what_is_not_http_gets_a_bare_400_and_is_disconnected(connection: Connection, request_: bytes) -> None:
    answer = connection.send(request_)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert connection.closed
    assert connection.send(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_the_first_byte_of_a_tls_hello_counts_only_at_the_beginning(connection: Connection) -> None:
    assert connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert connection.send(b"\x16") == b""
    assert not connection.closed


def test_a_small_body_is_discarded_and_the_connection_stays_open(connection: Connection) -> None:
    assert connection.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n") == b""
    assert b"PUT /a" in connection.send(b"hello")
    assert b"GET /b" in connection.send(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    "announced",
    [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked", b"Content-Length: 9\r\nExpect: 100-continue"],
)
def test_a_request_with_a_large_body_is_answered_at_once_and_is_the_last(
    connection: Connection, announced: bytes
) -> None:
    answer = connection.send(b"PUT /a HTTP/1.1\r\nHost: x\r\n" + announced + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"PUT /a")
    assert not connection.closed, "a client that is still sending would not read the answer"
    connection.send(b"x" * BODY_SIZE)
    assert not connection.closed
    assert connection.send(b"x") == b""
    assert connection.closed


def test_a_request_whose_body_is_slow_is_answered_and_disconnected(connection: Connection, clock: Clock) -> None:
    connection.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    for _ in range(3):
        clock.advance(BODY_TIME / 4)
        assert connection.send(b"x") == b""
    clock.advance(BODY_TIME / 4)
    assert b"PUT /a" in connection.received()
    assert connection.closed


def test_a_connection_is_closed_in_time_after_an_early_answer(connection: Connection, clock: Clock) -> None:
    connection.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert not connection.closed
    clock.advance(BODY_TIME)
    assert connection.closed


def test_a_head_that_arrives_byte_by_byte_times_out(connection: Connection, clock: Clock) -> None:
    for byte in b"GET / HTT":
        connection.send(bytes([byte]))
        clock.advance(LIMITS.head_time / 10)
    assert not connection.closed
    clock.advance(LIMITS.head_time / 10)
    assert connection.closed


def test_a_head_behind_another_request_has_the_same_timeout(connection: Connection, clock: Clock) -> None:
    connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\n")
    for byte in b"Host: ab":
        connection.send(bytes([byte]))
        clock.advance(LIMITS.head_time / 10)
    assert not connection.closed
    clock.advance(LIMITS.head_time / 5)
    assert connection.closed


def test_no_more_is_read_from_a_client_that_does_not_read(connection: Connection) -> None:
    connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.channel.pauseProducing()
    assert connection.transport.producerState == "paused"
    assert connection.send(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n" * 3) == b""
    connection.channel.resumeProducing()
    assert connection.transport.producerState == "producing"
    assert connection.received().count(b"GET /b") == 3


def test_a_client_that_does_not_read_its_last_answer_is_disconnected(site: BoundedSite, clock: Clock) -> None:
    connection = Connection(site)
    connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert connection.closed
    clock.advance(Channel.abortTimeout)
    assert connection.transport.disconnected
    connection.lose()
    assert clock.getDelayedCalls() == []


def test_a_connection_with_pipelined_requests_is_closed_after_a_stop(site: BoundedSite, resource: Echo) -> None:
    connection = Connection(site)
    connection.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    site.drain(5)
    respond(resource.unanswered[0], 200, {}, b"done")
    assert connection.closed
    connection.lose()


@pytest.mark.parametrize("method", [b"OPTIONS", b"DELETE", b"GET"])
def test_the_target_star_is_passed_to_the_resource(connection: Connection, method: bytes) -> None:
    assert connection.send(method + b" * HTTP/1.1\r\nHost: x\r\n\r\n").endswith(method + b" *")


def test_an_idle_connection_is_closed(connection: Connection, clock: Clock) -> None:
    connection.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    clock.advance(LIMITS.idle_time - 1)
    assert not connection.closed
    clock.advance(1)
    assert connection.closed


def test_a_stop_closes_idle_connections_and_waits_for_busy_ones(
    site: BoundedSite, resource: Echo, clock: Clock
) -> None:
    idle, halfway, busy = Connection(site), Connection(site), Connection(site)
    halfway.send(b"GET /a HT")
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    drained = site.drain(5)
    assert idle.closed
    assert halfway.closed
    assert not busy.closed
    idle.lose()
    halfway.lose()
    respond(resource.unanswered[0], 200, {}, b"done")
    assert busy.received().endswith(b"done")
    assert busy.closed
    assert not drained.called
    busy.lose()
    assert drained.called
    assert clock.getDelayedCalls() == []


def test_a_stop_aborts_busy_connections_in_the_end(site: BoundedSite, resource: Echo, clock: Clock) -> None:
    busy = Connection(site)
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    resource.unanswered[0].notifyFinish().addErrback(lambda _: None)
    drained = site.drain(5)
    clock.advance(5)
    assert busy.transport.disconnected
    busy.lose()
    assert drained.called


@settings(max_examples=300)
@given(
    st.lists(
        st.binary()
        | st.sampled_from([b"GET / HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n", b"Content-Length: 3\r\n", b"\x16\x03"]),
        max_size=12,
    )
)
def test_no_bytes_cause_an_exception_or_leave_a_timer_behind(pieces: list[bytes]) -> None:
    clock = Clock()
    site = BoundedSite(Echo(), clock)
    connection = Connection(site)
    for piece in pieces:
        answer = connection.send(piece)
        clock.advance(0)
        answer += connection.received()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    connection.lose()
    clock.advance(0)
    assert clock.getDelayedCalls() == []
    assert BAD_REQUEST.startswith(b"HTTP/1.1 400")


def test_a_query_of_very_many_parameters_is_refused_before_it_is_parsed(connection: Connection) -> None:
    answer = connection.send(b"GET /v2/org/app/tags/list?" + b"&" * 201 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer == BAD_REQUEST
