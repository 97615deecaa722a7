"""The bounds of a connection hold over TLS as well."""

import contextlib
import ssl

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.listening import Secured
from facaded.web import server as site_module
from facaded.web.server import HANDSHAKE_TIME, HEAD_TIME, IDLE_TIME, Channel, SecureSite, respond
from tests.tls.authority import NOW, trusting
from tests.tls.served import at_once
from tests.web.raw import Transport


class Registry(Resource):
    """Stands for the facade; keeps requests for `/later` open."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.kept: list[Request] = []

    def render(self, request: Request) -> int:
        if request.uri == b"/later":
            self.kept.append(request)
        else:
            respond(request, 200, {}, b"x" * 100_000 if request.uri == b"/much" else request.uri)
        return NOT_DONE_YET


class Server:
    """A site over TLS with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.registry = Registry()
        self.site = SecureSite(self.registry, self.clock)
        certificates = Certificates(Challenges(), self.clock, NOW.timestamp, at_once, (), ("docker.lab.test",))
        self.factory = Secured(self.site, certificates, self.clock)


class Client:
    """One connection, which speaks TLS when it is told to."""

    def __init__(self, server: Server, context: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.transport = Transport()
        protocol = server.factory.buildProtocol(None)
        assert protocol is not None
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or trusting()).wrap_bio(self.incoming, self.outgoing, server_hostname="docker.lab.test")

    def shake_hands(self) -> "Client":
        for _ in range(3):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
        self._exchange()
        return self

    def send(self, data: bytes) -> bytes:
        """Send bytes; gives what has been answered since the last call."""
        self.tls.write(data)
        self._exchange()
        return self.received()

    def received(self) -> bytes:
        self._exchange()
        answer = b""
        while True:
            try:
                read = self.tls.read(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return answer
            if not read:
                return answer
            answer += read

    def _exchange(self) -> None:
        if data := self.outgoing.read():
            self.protocol.dataReceived(data)
        self.server.clock.advance(0)  # small writes are sent together
        self.incoming.write(self.transport.value())
        self.transport.clear()

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def server() -> Server:
    return Server()


def test_requests_are_answered_and_the_connection_kept(server: Server) -> None:
    client = Client(server).shake_hands()
    for _ in range(3):
        assert client.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"/v2/")
    assert not client.closed
    client.lose()
    assert server.clock.getDelayedCalls() == []


def test_a_client_that_says_nothing_is_closed(server: Server) -> None:
    client = Client(server)
    server.clock.advance(HANDSHAKE_TIME - 1)
    assert not client.closed
    server.clock.advance(1)
    assert client.closed
    client.lose()
    assert (server.site.channels, server.clock.getDelayedCalls()) == (set(), [])


def test_a_client_that_stalls_in_its_handshake_is_closed(server: Server) -> None:
    client = Client(server)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    for byte in client.outgoing.read()[:9]:
        client.protocol.dataReceived(bytes([byte]))
        server.clock.advance(HANDSHAKE_TIME / 10)
    assert not client.closed
    server.clock.advance(HANDSHAKE_TIME / 10)
    assert client.closed
    client.lose()


def test_after_the_handshake_there_is_the_time_of_an_idle_connection(server: Server) -> None:
    client = Client(server).shake_hands()
    server.clock.advance(IDLE_TIME - 1)
    assert not client.closed
    server.clock.advance(1)
    server.clock.advance(Channel.abortTimeout)
    assert client.closed
    client.lose()


def test_a_head_that_comes_slowly_is_cut_off(server: Server) -> None:
    client = Client(server).shake_hands()
    for byte in b"GET / HTT":
        client.send(bytes([byte]))
        server.clock.advance(HEAD_TIME / 10)
    server.clock.advance(HEAD_TIME / 10)
    client.received()
    server.clock.advance(Channel.abortTimeout)
    assert client.transport.disconnected
    client.lose()


def test_what_is_not_tls_ends_the_connection(server: Server) -> None:
    client = Client(server)
    client.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.closed
    client.lose()
    assert server.clock.getDelayedCalls() == []


def test_malformed_http_gets_a_bare_400(server: Server) -> None:
    client = Client(server).shake_hands()
    assert client.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    client.lose()


def test_a_client_that_does_not_read_is_not_read_either(server: Server) -> None:
    client = Client(server).shake_hands()
    client.protocol.pauseProducing()
    assert client.transport.producerState == "paused"
    client.protocol.resumeProducing()
    assert client.transport.producerState == "producing"
    client.lose()


def test_connections_are_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "CONNECTIONS", 1)
    client = Client(server)
    assert server.factory.buildProtocol(None) is None
    client.lose()
    assert server.factory.buildProtocol(None) is not None


def test_a_stop_closes_idle_connections_and_those_in_a_handshake_and_waits_for_the_busy_ones(server: Server) -> None:
    idle, halfway, busy = Client(server).shake_hands(), Client(server), Client(server).shake_hands()
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    drained = server.site.drain(5)
    assert halfway.closed
    idle.received()
    assert not busy.closed
    idle.lose()
    halfway.lose()
    respond(server.registry.kept[0], 200, {}, b"done")
    assert busy.received().endswith(b"done")
    busy.lose()
    assert drained.called
    assert server.clock.getDelayedCalls() == []


def test_a_stop_does_not_wait_for_ever(server: Server) -> None:
    busy = Client(server).shake_hands()
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    server.registry.kept[0].notifyFinish().addErrback(lambda _: None)
    drained = server.site.drain(5)
    server.clock.advance(5)
    assert busy.transport.disconnected
    busy.lose()
    assert drained.called


def test_renegotiation_is_refused(server: Server) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    connection = SSL.Connection(context)
    connection.set_connect_state()
    client = Client(server)

    def exchange() -> None:
        for _ in range(6):
            with contextlib.suppress(SSL.WantReadError):
                connection.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                client.protocol.dataReceived(connection.bio_read(1 << 16))
            server.clock.advance(0)
            if answer := client.transport.value():
                connection.bio_write(answer)
                client.transport.clear()

    exchange()
    assert connection.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        exchange()
    client.lose()
