"""Direct answers: which requests get them, what they count for, and that no answer overtakes another."""

import contextlib
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from attrs import evolve
from twisted.internet import tcp
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent
from twisted.python.failure import Failure

from facaded.backends.manifests import MANIFEST_LIFE, Manifest
from facaded.backends.reached_limits import ReachedLimits
from facaded.oci.clients import Family, identify
from facaded.policy.decision import Mode, RoutingState
from facaded.policy.limits import BURST, Limit, Limits
from facaded.web.admission import READS, TURN_UNITS, Admission, AdmissionSettings
from facaded.web.answer_basis import READY_ANSWERS, READY_SIZE, AnswerBasis, ClientRequest, ReadyAnswer
from facaded.web.answered_requests import AnsweredRequest
from facaded.web.begun_answers import BegunAnswer
from facaded.web.facade import Facade
from facaded.web.render import Rendered
from facaded.web.request_head import HeaderFields, Origin, RequestHead
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import BoundedRequest, BoundedSite
from facaded.web.simple_heads import KEPT, KEPT_SIZE, SIZE, SimpleHeads
from facaded.web.strict_channel import PARAMETERS
from tests.backends.memory import INDEX, Fake, Network
from tests.fuzz.both_paths import compare
from tests.fuzz.checking import no_error_is_logged
from tests.watching import BAD, GOOD, Watching
from tests.web.raw import Connection
from tests.web.test_facade import RULES

COMPARED = 3000
"""Requests that the quick subset sends down both paths; see `tests.fuzz.both_paths` for more."""

PING = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: containerd/2.1\r\n\r\n"


def pull(reference: str = "latest", *lines: str, user_agent: str = "containerd/2.1") -> bytes:
    head = [f"GET /v2/org/app/manifests/{reference} HTTP/1.1", "Host: x", f"User-Agent: {user_agent}", *lines, "", ""]
    return "\r\n".join(head).encode()


class OrdinaryRequest(BoundedRequest):
    """A request that was not answered directly."""

    made = 0

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        OrdinaryRequest.made += 1
        super().requestReceived(command, path, version)


class Server:
    """A site that answers over two registries in memory."""

    def __init__(self, mode: Mode = Mode.REDIRECT, limits: Limits | None = None, settled: bool = True) -> None:
        OrdinaryRequest.made = 0
        self.network = Network(Fake("main"), Fake("second"))
        self.watching = Watching.begin("main", "second")
        if settled:
            self.settle()
        self.clock = Clock()
        self.answered = list[AnsweredRequest]()
        self.reached = ReachedLimits(self.clock)
        returning = ReturningClients(self.clock.seconds, self.watching.watch.probe_soon)
        rules = evolve(RULES, mode=mode)
        self.facade = Facade(self.watching.watch, rules, self.network.fetcher(), returning)
        admission = Admission(self.clock, self.reached, AdmissionSettings(limits or Limits()))
        self.site = BoundedSite(self.facade, self.clock, [self.answered.append], admission)
        self.site.requestFactory = OrdinaryRequest

    def settle(self) -> None:
        """End the first round of probes, which requests wait for."""
        self.watching.backends.answer("main", GOOD)
        self.watching.backends.answer("second", GOOD)

    def flush(self) -> None:
        for _ in range(12):
            self.network.agent.flush()
            self.clock.advance(0)


def test_both_paths_write_the_same_bytes_and_tell_the_same() -> None:
    with no_error_is_logged():
        assert compare(COMPARED) > 0.6, "too few requests were answered directly"


def test_a_simple_request_is_answered_directly() -> None:
    server = Server()
    connection = Connection(server.site)
    for _ in range(3):
        assert connection.send(pull()).startswith(b"HTTP/1.1 307 ")
        server.clock.advance(0.1)
    assert OrdinaryRequest.made == 0
    assert [(one.status, one.path, one.client.family) for one in server.answered] == [
        (307, "/v2/org/app/manifests/latest", Family.CONTAINERD)
    ] * 3


def test_from_a_request_in_pieces_on_all_take_the_ordinary_path() -> None:
    server = Server()
    connection = Connection(server.site)
    assert connection.send(PING[:20]) == b""
    assert connection.send(PING[20:]).startswith(b"HTTP/1.1 307 ")
    connection.send(PING)
    assert OrdinaryRequest.made == 2


def test_what_continues_a_head_is_no_request_even_if_it_looks_like_one() -> None:
    connection = Connection(Server().site)
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    assert connection.send(PING).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_does_not_read_gets_no_direct_answers() -> None:
    server = Server()
    connection = Connection(server.site)
    connection.channel.pauseProducing()
    assert connection.send(PING) == b""
    connection.channel.resumeProducing()
    assert connection.received().startswith(b"HTTP/1.1 307 ")


@pytest.mark.parametrize(
    "head",
    [
        pull("latest", "X: " + "x" * SIZE),
        pull("latest?" + ";" * (PARAMETERS + 1)),
        pull("latest", "Host: x"),
        b"GET /v2/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
        pull("latest", *["X: x"] * 99),
    ],
)
def test_what_the_ordinary_path_may_refuse_is_not_simple(head: bytes) -> None:
    assert SimpleHeads().read(head) is None


def test_clients_that_send_the_same_bytes_are_judged_by_themselves() -> None:
    server = Server(Mode.AUTO)
    server.network.fakes["main"].put("org/app", "latest")
    first, second = (Connection(server.site, address) for address in ("192.0.2.7", "192.0.2.8"))
    for _ in range(4):
        first.send(pull())
        server.clock.advance(5)
    assert server.answered[-1].decision.asked_again
    assert second.send(pull()).startswith(b"HTTP/1.1 307 ")


def test_pipelined_requests_take_the_ordinary_path_and_are_answered_in_order() -> None:
    server = Server()
    answer = Connection(server.site).send(PING + pull())
    assert OrdinaryRequest.made == 2
    assert answer.index(b"/v2/\r\n") < answer.index(b"/v2/org/app/manifests/latest\r\n")


def test_a_request_that_waits_is_passed_on_and_the_next_one_is_answered_directly() -> None:
    server = Server(settled=False)
    connection = Connection(server.site)
    assert connection.send(pull()) == b""
    server.settle()
    assert connection.received().startswith(b"HTTP/1.1 307 ")
    assert OrdinaryRequest.made == 1
    assert connection.send(PING).startswith(b"HTTP/1.1 307 ")
    assert OrdinaryRequest.made == 1, "the second one went directly"


def test_a_manifest_in_the_cache_is_answered_directly() -> None:
    server, body = Server(Mode.SERVE), b'{"a": "manifest"}'
    digest = server.network.fakes["main"].put("org/app", "latest", INDEX, body)
    for _ in range(2):
        assert Connection(server.site).send(pull(digest, f"Accept: {INDEX}")).endswith(body)
    assert OrdinaryRequest.made == 0
    assert server.network.fakes["main"].count("GET", "/manifests/") == 1


def test_what_comes_during_an_answer_does_not_overtake_it() -> None:
    server = Server(settled=False)
    connection = Connection(server.site)
    connection.send(pull())
    assert connection.send(PING) == b"", "it waits for its turn"
    server.settle()
    answers = connection.received()
    assert answers.count(b"HTTP/1.1 307 ") == 2
    assert answers.index(b"/manifests/latest\r\n") < answers.index(b"/v2/\r\n")
    connection.send(PING)
    assert OrdinaryRequest.made == 3, "what came meanwhile is not known to be whole"


def _postpone(postponed: list[Callable[[], None]], send: Callable[[], None]) -> bool:
    postponed.append(send)
    return True


class SocketConnection(tcp.Server):
    """A connection with a socket; `peer` is the other end. The reactor does nothing by itself.

    What is `postponed` to the end of a batch, the test calls; without a list, no batch is in progress.
    """

    def __init__(self, site: BoundedSite, postponed: list[Callable[[], None]] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname(), timeout=5)
            own, client = listener.accept()
        own.setblocking(False)
        channel = site.buildProtocol(IPv4Address("TCP", *client))
        port = tcp.Port(0, site, reactor=MemoryReactorClock())
        clock: Any = MemoryReactorClock()
        if postponed is not None:
            clock.postpone = partial(_postpone, postponed)
        super().__init__(own, channel, client, port, 1, clock)
        channel.makeConnection(self)

    def has_received(self) -> bool:
        return bool(select.select([self.peer], [], [], 0)[0])

    def received_until(self, end: bytes) -> bytes:
        """Return what arrives up to these bytes."""
        received = b""
        while end not in received:
            received += self.peer.recv(1 << 16)
        return received

    def close(self) -> None:
        self.connectionLost(Failure(ConnectionDone()))
        self.peer.close()


def test_a_direct_answer_is_sent_at_once_but_not_before_what_the_ordinary_path_has_written() -> None:
    server = Server()
    with contextlib.closing(SocketConnection(server.site)) as connection:
        connection.protocol.dataReceived(PING)
        connection.received_until(b"\r\n\r\n")
        connection.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.protocol.dataReceived(pull())
        assert OrdinaryRequest.made == 1
        assert not connection.has_received(), "both wait for the reactor"
        connection.doWrite()
        answers = connection.received_until(b"/manifests/latest\r\n")
        assert 0 < answers.index(b"</html>") < answers.index(b"/manifests/latest\r\n")


@pytest.mark.parametrize("end", ["abort", "close"])
def test_an_answer_is_sent_before_its_connection_is_closed_in_the_same_batch(end: str) -> None:
    postponed: list[Callable[[], None]] = []
    with contextlib.closing(SocketConnection(Server().site, postponed)) as connection:
        connection.protocol.dataReceived(PING)
        assert postponed
        assert not connection.has_received()
        getattr(connection.protocol, end)()  # such as to make room for another connection
        assert connection.has_received()
        for send in postponed:
            send()
        assert connection.received_until(b"\r\n\r\n").count(b"HTTP/1.1") == 1


def test_what_the_ordinary_path_writes_comes_after_what_waits_for_the_end_of_the_batch() -> None:
    postponed: list[Callable[[], None]] = []
    server = Server()
    with contextlib.closing(SocketConnection(server.site, postponed)) as connection:
        connection.protocol.dataReceived(PING)
        connection.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.doWrite()
        for send in postponed:
            send()
        answers = connection.received_until(b"</html>")
        assert answers.startswith(b"HTTP/1.1 307")
        assert answers.count(b"HTTP/1.1") == 2


def test_the_work_for_a_client_that_disconnects_is_cancelled() -> None:
    server = Server(Mode.SERVE)
    server.network.fakes["main"].fault = "hang"
    connection = Connection(server.site)
    connection.send(pull())
    server.flush()
    assert server.site.channels
    connection.lose()
    with no_error_is_logged():
        server.flush()
    assert server.answered == []


@pytest.mark.parametrize("is_passed_on", [False, True])
def test_a_request_counts_once_for_its_source_on_either_path(is_passed_on: bool) -> None:
    server = Server(limits=Limits(requests_per_source=1), settled=not is_passed_on)
    connections = [Connection(server.site) for _ in range(BURST + 2)]
    answers = []
    for connection in connections:
        answers.append(connection.send(PING))
        server.clock.advance(0.001)
    if is_passed_on:
        server.settle()
    answers += [connection.received() for connection in connections]
    assert b"".join(answers).count(b"HTTP/1.1 307 ") == BURST
    assert server.reached.all()[Limit.REQUESTS_PER_SOURCE].count == 2
    assert (OrdinaryRequest.made == BURST) == is_passed_on


def test_after_a_refusal_nothing_is_read_for_a_while() -> None:
    server = Server(limits=Limits(requests_per_source=1))
    connection = Connection(server.site)
    while connection.send(PING).startswith(b"HTTP/1.1 307 "):
        server.clock.advance(0.01)
    assert connection.send(PING) == b""
    server.clock.advance(1.1)
    assert connection.received().startswith(b"HTTP/1.1 307 ")


def test_the_answer_to_a_repeated_request_follows_the_backends_and_the_settings() -> None:
    server = Server()
    connection = Connection(server.site)
    for _ in range(3):
        assert b"Location: https://main.test/" in connection.send(pull())
    for _ in range(2):
        server.watching.clock.advance(10)
        server.watching.backends.answer("main", BAD)
        server.watching.backends.answer("second", GOOD)
    assert b"Location: https://second.test:5000/" in connection.send(pull())
    server.facade.reconfigure(evolve(RULES, mode=Mode.SERVE), server.network.fetcher())
    assert b"Location" not in connection.send(PING)


@pytest.mark.parametrize("size", [READY_SIZE, READY_SIZE + 1])
def test_no_ready_answer_keeps_a_large_manifest_that_the_cache_may_evict(size: int) -> None:
    basis, client = AnswerBasis(RULES, RoutingState(("main",), ("main",)), {}), identify("")
    manifest = Manifest(INDEX, "sha256:" + "a" * 64, size, b"x" * size)
    target = f"/v2/org/app/manifests/{manifest.digest}".encode()
    head = RequestHead(b"GET", target, HeaderFields(b"x", "", client))
    parsed = ClientRequest.read(head, Origin("192.0.2.7", False))
    not_modified = Rendered(304, {})
    begun = BegunAnswer(client, not_modified)
    basis.make_ready(parsed, ReadyAnswer(basis.decide(parsed), not_modified, begun, manifest))
    assert (basis.find_ready(parsed) is None) == (size > READY_SIZE)


def test_a_direct_answer_resets_the_idle_timeout() -> None:
    server = Server(limits=Limits(idle_time=10.0))
    connection = Connection(server.site)
    for _ in range(4):
        server.clock.advance(8)
        connection.send(PING)
    assert not connection.closed
    server.clock.advance(10.1)
    assert connection.closed


def test_a_connection_that_asks_to_close_is_closed_after_a_direct_answer() -> None:
    server = Server()
    connection = Connection(server.site)
    answer = connection.send(pull("latest", "Connection: close"))
    assert b"\r\nConnection: close\r\n" in answer
    assert connection.closed
    assert OrdinaryRequest.made == 0


def test_a_stopping_site_announces_the_end_of_each_connection() -> None:
    server = Server()
    server.site.is_stopping = True
    connection = Connection(server.site)
    assert b"\r\nConnection: close\r\n" in connection.send(PING)
    assert connection.closed


def test_an_internal_error_is_answered_directly_with_500(no_errors_are_logged: list[LogEvent]) -> None:
    server = Server()
    server.facade.reconfigure(evolve(RULES, backends={}), server.network.fetcher())
    assert Connection(server.site).send(PING).startswith(b"HTTP/1.1 500 ")
    assert OrdinaryRequest.made == 0
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


def test_the_first_byte_of_a_tls_hello_counts_only_before_the_first_direct_answer() -> None:
    server = Server()
    connection = Connection(server.site)
    connection.send(PING)
    assert connection.send(b"\x16") == b""
    assert not connection.closed


@pytest.mark.parametrize(
    "lines",
    [
        ["Authorization: Bearer secret"],
        ["Authorization: Bearer secret", "Authorization:"],
        ["Proxy-Authorization: Basic secret"],
        ["cookie: session=secret"],
    ],
)
def test_credentials_are_not_kept(lines: list[str]) -> None:
    heads = SimpleHeads()
    for _ in range(2):
        head = heads.read(pull("latest", *lines))
        assert head is None or not head.is_kept
    assert "secret" not in repr(vars(heads))
    other = [heads.read(pull("latest")) for _ in range(2)]
    assert other[0] is other[1]


def test_few_and_short_heads_are_kept() -> None:
    heads = SimpleHeads()
    for number in range(3 * KEPT):
        heads.read(pull(f"tag-{number}", f"X-Number: {number}"))
    long = pull("latest", "X-Long: " + "x" * KEPT_SIZE)
    assert heads.read(long) is not heads.read(long)
    assert all(len(table) <= KEPT for table in vars(heads).values())


def test_a_source_with_many_connections_waits_for_its_turn_and_is_answered_directly_then() -> None:
    server = Server(limits=Limits(requests_per_source=1000))
    connections = [Connection(server.site) for _ in range(TURN_UNITS + 5)]
    answers = [connection.send(PING) for connection in connections]
    assert answers.count(b"") == 5
    assert Connection(server.site, "192.0.2.8").send(PING).startswith(b"HTTP/1.1 307 "), "others are answered at once"
    for _ in range(3):
        server.clock.advance(0)
    late = [connection.received() for connection in connections[-5:]]
    assert all(answer.startswith(b"HTTP/1.1 307 ") for answer in late)
    assert OrdinaryRequest.made == 0


def test_a_request_that_is_passed_on_takes_as_much_of_a_turn_as_an_ordinary_connection() -> None:
    server = Server(limits=Limits(requests_per_source=1000))
    for _ in range(READS + 5):
        Connection(server.site).send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert OrdinaryRequest.made == READS


def test_what_arrives_while_a_connection_waits_for_its_turn_is_answered_in_order() -> None:
    server = Server(limits=Limits(requests_per_source=1000))
    connections = [Connection(server.site) for _ in range(TURN_UNITS + 1)]
    for connection in connections:
        connection.send(pull())
    late = connections[-1]
    assert late.send(PING) == b""
    for _ in range(3):
        server.clock.advance(0)
    answers = late.received()
    assert 0 < answers.index(b"/manifests/latest\r\n") < answers.index(b"/v2/\r\n")


def test_a_ready_answer_is_noted_for_the_next_request_of_its_client() -> None:
    server = Server(Mode.AUTO)
    connection = Connection(server.site)
    for pause in (0.0, 0.5, 0.7):
        assert b"HTTP/1.1 307 " in connection.send(pull())
        server.clock.advance(pause)
    assert b"HTTP/1.1 307 " in connection.send(pull()), "0.7 s after the last one, which was ready, it may be parallel"
    server.clock.advance(2)
    assert b"HTTP/1.1 307 " not in connection.send(pull()), "it asked again, so it is served"


def test_a_ready_answer_ends_with_what_the_cache_has() -> None:
    server = Server(Mode.SERVE)
    main = server.network.fakes["main"]
    digest = main.put("org/app", "latest", INDEX, b'{"a": "manifest"}')
    connection = Connection(server.site)
    for _ in range(3):
        assert b"HTTP/1.1 200 " in connection.send(pull(digest, f"Accept: {INDEX}"))
    assert main.count("GET", "/manifests/") == 1
    server.network.clock.advance(MANIFEST_LIFE + 1)
    connection.send(pull(digest, f"Accept: {INDEX}"))
    server.flush()
    assert main.count("GET", "/manifests/") == 2, "it may have been deleted there"


def test_few_answers_are_ready() -> None:
    server = Server()
    connection = Connection(server.site)
    for number in range(READY_ANSWERS + 50):
        for _ in range(3):
            connection.send(pull(f"tag-{number}"))
            server.clock.advance(0.01)
    assert 0 < len(server.facade._basis.ready) <= READY_ANSWERS


def test_a_connection_that_was_just_answered_is_the_last_to_make_room() -> None:
    server = Server(limits=Limits(connections_per_source=2))
    first, second = Connection(server.site), Connection(server.site)
    for connection in (first, second, first):
        connection.send(PING)
    Connection(server.site)
    assert (first.transport.disconnected, second.transport.disconnected) == (False, True)
