"""Admission: no source of connections or requests shuts out the others."""

from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from twisted.internet.task import Clock
from twisted.web.server import Request

from facaded.backends.reached_limits import ReachedLimits
from facaded.net.descriptors import CLOSING
from facaded.policy.limits import BURST, Limit, Limits, Network
from facaded.web.admission import ALL_NETWORKS, FOR_OPERATORS, READ_TIME, READS, Admission, AdmissionSettings
from facaded.web.admitted_channel import PIPELINED, REFUSAL_PAUSE
from facaded.web.client_address import WithoutAddress
from facaded.web.responses import respond
from facaded.web.server import BoundedSite
from tests.web.raw import Connection, Transport, peer_at
from tests.web.test_server import Echo

if TYPE_CHECKING:
    from facaded.web.answered_requests import AnsweredRequest

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LATER = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = Limits(connections_per_source=3, new_connections_per_source=100, requests_per_source=1)


class Server:
    """A site with 6 connections, and what became of it."""

    def __init__(self, limits: Limits = LIMITS, proxies: tuple[Network, ...] = (), connections: int = 6) -> None:
        self.clock = Clock()
        self.reached = ReachedLimits(self.clock)
        self.admission = Admission(self.clock, self.reached, AdmissionSettings(limits, connections, proxies))
        self.resource = Echo()
        self.answered: list[AnsweredRequest] = []
        self.site = BoundedSite(self.resource, self.clock, [self.answered.append], self.admission)

    def counts(self) -> dict[Limit, int]:
        return {limit: reached.count for limit, reached in self.reached.all().items()}

    def refuses(self, address: str) -> bool:
        return self.site.buildProtocol(peer_at(address)) is None

    def finish(self, request: Request) -> None:
        respond(request, 200, {}, b"done")


@pytest.fixture
def server() -> Server:
    return Server()


def aborted(*connections: Connection) -> list[bool]:
    return [connection.transport.disconnected for connection in connections]


def test_at_its_limit_a_source_loses_its_own_connection_that_was_idle_for_longest(server: Server) -> None:
    other = Connection(server.site, "192.0.2.8")
    oldest, second, third = (Connection(server.site) for _ in range(3))
    oldest.send(GET)
    Connection(server.site).send(GET)
    assert aborted(other, oldest, second, third) == [False, False, True, False]
    assert server.counts() == {Limit.CONNECTIONS_PER_SOURCE: 1}
    assert server.reached.all()[Limit.CONNECTIONS_PER_SOURCE].subject == "192.0.2.7"


def test_the_addresses_of_an_ipv6_64_are_one_source(server: Server) -> None:
    connections = [Connection(server.site, f"2001:db8::{number}") for number in range(1, 4)]
    Connection(server.site, "2001:db8::9")
    assert aborted(*connections) == [True, False, False]
    Connection(server.site, "2001:db8:0:1::9")
    assert aborted(*connections) == [True, False, False]


def test_a_busy_connection_makes_no_room(server: Server) -> None:
    connections = [Connection(server.site) for _ in range(3)]
    for connection in connections:
        connection.send(LATER)
    assert server.refuses("192.0.2.7")
    server.finish(server.resource.unanswered[1])
    assert not server.refuses("192.0.2.7")
    assert aborted(*connections) == [False, True, False]


def test_an_unfinished_head_makes_room(server: Server) -> None:
    connections = [Connection(server.site) for _ in range(3)]
    for connection in connections:
        connection.send(GET + b"GET /b HTTP/1.1\r\n")
    Connection(server.site)
    assert aborted(*connections) == [True, False, False]


def test_an_answer_to_a_pipelined_request_is_no_idle_time(server: Server) -> None:
    connections = [Connection(server.site) for _ in range(3)]
    for connection in connections:
        connection.send(GET + LATER)
    assert server.refuses("192.0.2.7")


def test_if_all_connections_are_in_use_the_largest_source_loses_its_oldest_idle_one(server: Server) -> None:
    small = [Connection(server.site, f"198.51.100.{number}") for number in range(3)]
    large = [Connection(server.site) for _ in range(3)]
    newcomer = Connection(server.site, "203.0.113.1")
    assert aborted(*small, *large) == [False, False, False, True, False, False]
    assert newcomer.send(GET).startswith(b"HTTP/1.1 200")
    assert server.counts() == {Limit.CONNECTIONS: 1}


def test_a_source_whose_connections_are_busy_takes_none_from_smaller_ones(server: Server) -> None:
    small = [Connection(server.site, f"198.51.100.{number}") for number in range(4)]
    for _ in range(2):
        Connection(server.site).send(LATER)
    assert server.refuses("192.0.2.7")
    assert not any(aborted(*small))


def test_if_nothing_is_idle_a_new_connection_is_closed() -> None:
    server = Server(connections=2)
    for address in ("192.0.2.7", "192.0.2.8"):
        Connection(server.site, address).send(LATER)
    assert server.refuses("192.0.2.9")


def test_connections_that_end_make_room(server: Server) -> None:
    for number in range(20):
        Connection(server.site, f"192.0.2.{number}").lose()
    assert server.counts() == {}


def test_no_more_connections_are_closed_at_once_than_the_reserve_of_descriptors_allows() -> None:
    server = Server(Limits(), connections=CLOSING + 1)
    connections = [Connection(server.site, f"192.0.2.{number}") for number in range(CLOSING + 1)]
    for number in range(CLOSING):
        Connection(server.site, f"198.51.100.{number}")
    assert aborted(*connections) == [True] * CLOSING + [False]
    assert server.refuses("203.0.113.1")
    connections[0].lose()
    assert not server.refuses("203.0.113.1")


def test_half_of_that_is_kept_for_sources_without_a_connection() -> None:
    server = Server(Limits(), connections=CLOSING)
    for number in range(CLOSING):
        Connection(server.site, f"192.0.2.{number // 2}")
    for number in range(CLOSING // 2):
        Connection(server.site, f"198.51.100.{number}")
    assert server.refuses("198.51.100.0")
    Connection(server.site, "203.0.113.1")


def test_new_connections_of_a_source_are_limited_by_their_rate() -> None:
    server = Server(Limits(new_connections_per_source=2))
    for _ in range(2 * BURST):
        Connection(server.site).lose()
    assert server.refuses("192.0.2.7")
    assert not server.refuses("192.0.2.8")
    server.clock.advance(0.5)
    assert not server.refuses("192.0.2.7")
    assert server.counts() == {Limit.NEW_CONNECTIONS_PER_SOURCE: 1}


@pytest.mark.parametrize("proxies", [False, True])
def test_exempt_networks_and_trusted_proxies_have_no_limits_of_their_own(proxies: bool) -> None:
    networks = (ip_network("192.0.2.0/24"),)
    limits = Limits(connections_per_source=1, new_connections_per_source=1, requests_per_source=1)
    server = Server(limits, networks) if proxies else Server(evolve(limits, exempt=networks))
    connections = [Connection(server.site) for _ in range(6)]
    for _ in range(2 * BURST):
        assert connections[5].send(GET).startswith(b"HTTP/1.1 200")
    assert server.counts() == {}
    Connection(server.site)
    assert server.counts() == {Limit.CONNECTIONS: 1}


def test_operators_are_limited_together_only() -> None:
    server = Server(evolve(FOR_OPERATORS, new_connections_per_source=1, requests_per_source=1))
    for address in ("127.0.0.1", "2001:db8::1"):
        connection = Connection(server.site, address)
        for _ in range(3 * BURST):
            assert connection.send(GET).startswith(b"HTTP/1.1 200")
    assert FOR_OPERATORS.exempt == ALL_NETWORKS


def test_a_reload_changes_the_limits_and_keeps_what_was_counted(server: Server) -> None:
    connections = [Connection(server.site) for _ in range(3)]
    server.admission.reconfigure(AdmissionSettings(evolve(LIMITS, connections_per_source=4), 6))
    Connection(server.site)
    assert not any(aborted(*connections))
    server.admission.reconfigure(AdmissionSettings(evolve(LIMITS, idle_time=5.0, head_time=2.0), 6))
    last = Connection(server.site)
    assert aborted(*connections) == [True, False, False]
    last.send(b"GET ")
    server.clock.advance(2)
    assert last.closed
    assert server.counts()[Limit.HEAD_TIME] == 1
    idle = Connection(server.site)
    server.clock.advance(5)
    assert idle.closed


def test_a_request_whose_body_is_still_arriving_keeps_no_connection_open(server: Server) -> None:
    connections = [Connection(server.site) for _ in range(3)]
    for connection in connections:
        connection.send(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    Connection(server.site)
    assert aborted(*connections) == [True, False, False]


# Requests


def send(server: Server, connection: Connection, data: bytes) -> bytes:
    """Send bytes, and return the answer in this turn of the reactor and the next one."""
    answer = connection.send(data)
    server.clock.advance(0)
    return answer + connection.received()


def refused_after(server: Server, connection: Connection, request: bytes = GET) -> bytes:
    """Use up the requests of the connection's source, and return the answer to one more."""
    for _ in range(LIMITS.requests_per_source * BURST):
        assert send(server, connection, GET).startswith(b"HTTP/1.1 200")
    return send(server, connection, request)


def test_a_request_too_many_is_answered_429(server: Server) -> None:
    connection = Connection(server.site)
    answer = refused_after(server, connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    for line in (
        b"Retry-After: 1",
        b"Docker-Distribution-Api-Version: registry/2.0",
        b"Content-Type: application/json",
    ):
        assert line in head.split(b"\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"\r\nDate: " in head
    assert b'"code":"TOOMANYREQUESTS"' in body.replace(b" ", b"")
    assert not connection.closed
    assert server.counts() == {Limit.REQUESTS_PER_SOURCE: 1}
    assert len(server.answered) == BURST, "a refused request is in no log"


def test_an_answer_429_to_head_has_no_body(server: Server) -> None:
    answer = refused_after(server, Connection(server.site), GET.replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 429 ")
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "last", [GET.replace(b"HTTP/1.1", b"HTTP/1.0"), GET.replace(b"Host", b"Connection: close\r\nHost")]
)
def test_an_answer_429_to_the_last_request_closes(server: Server, last: bytes) -> None:
    connection = Connection(server.site)
    assert b"\r\nConnection: close\r\n" in refused_after(server, connection, last)
    assert connection.closed


def test_a_request_too_many_with_a_large_body_is_answered_at_once(server: Server) -> None:
    connection = Connection(server.site)
    request = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    assert b"\r\nConnection: close\r\n" in refused_after(server, connection, request)
    assert not connection.closed, "the client is still sending"
    connection.send(b"x" * 70_000)
    assert connection.closed


def test_after_a_request_too_many_nothing_is_read_for_a_second(server: Server) -> None:
    connection = Connection(server.site)
    assert refused_after(server, connection, GET * 3).count(b"HTTP/1.1") == 1
    assert connection.transport.producerState == "paused"
    assert connection.send(GET) == b""
    connection.channel.resumeProducing()
    assert connection.received() == b"", "that the client has read its answers does not end the pause"
    server.clock.advance(REFUSAL_PAUSE)
    assert connection.received().count(b"HTTP/1.1 200") == LIMITS.requests_per_source
    connection.lose()


def test_a_paused_connection_can_be_closed(server: Server) -> None:
    connection = Connection(server.site)
    refused_after(server, connection)
    server.clock.advance(0)
    server.site.drain(5)
    assert connection.closed
    assert connection.transport.producerState == "producing"
    connection.lose()


def test_other_sources_are_answered_meanwhile(server: Server) -> None:
    refused_after(server, Connection(server.site))
    assert Connection(server.site, "192.0.2.8").send(GET).startswith(b"HTTP/1.1 200")


def test_a_source_with_many_connections_is_read_over_several_turns_and_others_in_the_first() -> None:
    server = Server(Limits(), connections=1000)
    many = [Connection(server.site) for _ in range(3 * READS)]
    answers = [connection.send(GET) for connection in many]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * READS + [b""] * (2 * READS)
    assert Connection(server.site, "192.0.2.8").send(GET).startswith(b"HTTP/1.1 200")
    for connections, seconds in ((many[READS : 2 * READS], 0.0), (many[2 * READS :], READ_TIME)):
        server.clock.advance(seconds)
        assert all(connection.received().startswith(b"HTTP/1.1 200") for connection in connections)


@pytest.mark.parametrize(
    ("start", "rest"), [(GET[:20], GET[20:]), (GET[:-2] + b"Content-Length: 2\r\n\r\n", b"{}"), (GET[:2], GET[2:])]
)
def test_so_is_one_that_has_sent_a_part_of_each_request_before(start: bytes, rest: bytes) -> None:
    server = Server(Limits(), connections=1000)
    many = [Connection(server.site) for _ in range(2 * READS)]
    for connection in many:
        connection.send(start)
        server.clock.advance(READ_TIME)
    answers = [connection.send(rest) for connection in many]
    assert [answer[:12] for answer in answers].count(b"HTTP/1.1 200") <= READS
    server.clock.advance(READ_TIME)
    answers = [answer + connection.received() for answer, connection in zip(answers, many, strict=True)]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


def test_pipelined_requests_are_answered_over_several_turns_of_the_reactor() -> None:
    server = Server(Limits())
    connection = Connection(server.site)
    assert connection.send(GET * (2 * PIPELINED + 1)).count(b"HTTP/1.1 200") == PIPELINED
    assert connection.transport.producerState == "paused"
    server.clock.advance(0)
    assert connection.received().count(b"HTTP/1.1 200") == PIPELINED + 1
    assert connection.transport.producerState == "producing"


def test_requests_that_are_read_while_an_answer_is_not_stay_in_order(server: Server) -> None:
    connection = Connection(server.site)
    connection.send(LATER)
    connection.send(GET)
    connection.channel.pauseProducing()
    connection.send(GET.replace(b"/a", b"/b"))  # the reactor may have read it before it was told to stop
    server.finish(server.resource.unanswered[0])
    assert connection.received().count(b"HTTP/1.1 200") == 1
    connection.channel.resumeProducing()
    server.clock.advance(0)
    answers = connection.received()
    assert 0 < answers.index(b"GET /a") < answers.index(b"GET /b")


# Proxies


def test_a_connection_over_the_proxy_protocol_counts_for_the_client(server: Server) -> None:
    factory = WithoutAddress(server.site)

    def connect(client: str) -> Transport:
        transport = Transport(peerAddress=peer_at("10.0.0.1"))
        channel = factory.buildProtocol(peer_at("10.0.0.1"))
        assert channel is not None
        channel.makeConnection(transport)
        transport.peerAddr = peer_at(client)  # as the wrapper of the PROXY protocol does after its header
        channel.dataReceived(GET)
        return transport

    transports = [connect(client) for client in ["192.0.2.8"] + ["192.0.2.7"] * 4]
    assert [transport.disconnected for transport in transports] == [False, True, False, False, False]
    assert [answered.address for answered in server.answered] == ["192.0.2.8"] + ["192.0.2.7"] * 4


def test_a_connection_over_the_proxy_protocol_that_is_too_many_is_not_answered() -> None:
    server = Server(Limits(new_connections_per_source=1))
    for _ in range(BURST + 1):
        channel = WithoutAddress(server.site).buildProtocol(None)
        channel.makeConnection(transport := Transport(peerAddress=peer_at("192.0.2.7")))
        channel.dataReceived(GET)
        server.clock.advance(0)
    assert transport.disconnected
    assert len(server.answered) == BURST


def test_the_requests_of_a_trusted_proxy_count_for_its_clients() -> None:
    server = Server(LIMITS, proxies=(ip_network("10.0.0.0/8"),))
    proxy = Connection(server.site, "10.0.0.1")

    def get(client: str) -> bytes:
        answer = proxy.send(GET.replace(b"Host", f"X-Forwarded-For: {client}\r\nHost".encode()))
        server.clock.advance(0)
        return answer[:12]

    assert {get("192.0.2.7") for _ in range(BURST)} == {b"HTTP/1.1 200"}
    assert get("192.0.2.8") == b"HTTP/1.1 200"
    assert get("192.0.2.7, 10.0.0.9") == b"HTTP/1.1 429"
    assert get("192.0.2.8") == b"HTTP/1.1 200", "the proxy's connection is also that of other clients"
    assert {answered.address for answered in server.answered} == {"192.0.2.7", "192.0.2.8"}


def test_a_header_of_a_client_that_is_no_text_does_not_close_the_connection_of_a_proxy() -> None:
    server = Server(LIMITS, proxies=(ip_network("10.0.0.0/8"),))
    proxy = Connection(server.site, "10.0.0.1")
    for name in (b"X-Forwarded-For: \xff, 192.0.2.7", b"Forwarded: for=\xff, for=192.0.2.7"):
        assert proxy.send(GET.replace(b"Host", name + b"\r\nHost")).startswith(b"HTTP/1.1 200")
    assert [answered.address for answered in server.answered] == ["192.0.2.7"] * 2
