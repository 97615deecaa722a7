"""The limits of a connection apply over TLS too."""

import contextlib
import ssl

import pytest
from attrs import evolve
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.policy.limits import BURST, Limits
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.secure_factory import HANDSHAKE_SIZE, SecureFactory
from facaded.web.admission import AdmissionSettings
from facaded.web.admitted_channel import REFUSAL_PAUSE
from facaded.web.channel import Channel
from facaded.web.responses import respond
from facaded.web.server import SecureSite
from tests.tls.authority import NOW, trusting
from tests.tls.served import call_now
from tests.web.raw import Transport

LIMITS = Limits()


class SlowFacade(Resource):
    """Takes the place of the facade; leaves requests for `/later` open."""

    isLeaf = True

    def __init__(self) -> None:
        Resource.__init__(self)
        self.pending: list[Request] = []

    def render(self, request: Request) -> int:
        if request.uri == b"/later":
            self.pending.append(request)
        else:
            respond(request, 200, {}, b"x" * 100_000 if request.uri == b"/much" else request.uri)
        return NOT_DONE_YET


class TlsServer:
    """A site over TLS, with a clock that only the test advances."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.facade = SlowFacade()
        self.site = SecureSite(self.facade, self.clock)
        certificates = Certificates(Challenges(), self.clock, NOW.timestamp, call_now, (), ("docker.lab.test",))
        self.factory = SecureFactory(self.site, certificates, self.clock)


class TlsClient:
    """One connection, which starts TLS with `shake_hands`."""

    def __init__(
        self, server: TlsServer, context: ssl.SSLContext | None = None, peer: IPv4Address | None = None
    ) -> None:
        self.server = server
        self.transport = Transport(peerAddress=peer)
        protocol = server.factory.buildProtocol(peer)
        assert protocol is not None
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = (context or trusting()).wrap_bio(self.incoming, self.outgoing, server_hostname="docker.lab.test")

    def shake_hands(self) -> "TlsClient":
        for _ in range(3):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._exchange()
        self._exchange()
        return self

    def send(self, data: bytes) -> bytes:
        """Send bytes, and return what was received since the last call."""
        self.tls.write(data)
        self._exchange()
        return self.received()

    def received(self) -> bytes:
        self._exchange()
        response = b""
        while True:
            try:
                data = self.tls.read(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                return response
            if not data:
                return response
            response += data

    def _exchange(self) -> None:
        if data := self.outgoing.read():
            self.protocol.dataReceived(data)
        self.server.clock.advance(0)  # Twisted sends small writes together, on the next turn
        self.incoming.write(self.transport.value())
        self.transport.clear()

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting or self.transport.disconnected)

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


@pytest.fixture
def server() -> TlsServer:
    return TlsServer()


def test_a_connection_answers_several_requests(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    for _ in range(3):
        assert client.send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"/v2/")
    assert not client.closed
    client.lose()
    assert server.clock.getDelayedCalls() == []


def test_a_silent_client_is_closed(server: TlsServer) -> None:
    client = TlsClient(server)
    server.clock.advance(LIMITS.handshake_time - 1)
    assert not client.closed
    server.clock.advance(1)
    assert client.closed
    client.lose()
    assert server.site.channels == set()
    assert [call.func.__qualname__ for call in server.clock.getDelayedCalls()] == ["ReachedLimits._write_line"]


def test_a_client_that_stalls_in_the_handshake_is_closed(server: TlsServer) -> None:
    client = TlsClient(server)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    for byte in client.outgoing.read()[:9]:
        client.protocol.dataReceived(bytes([byte]))
        server.clock.advance(LIMITS.handshake_time / 10)
    assert not client.closed
    server.clock.advance(LIMITS.handshake_time / 10)
    assert client.closed
    client.lose()


def test_after_the_handshake_the_idle_timeout_applies(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    server.clock.advance(LIMITS.idle_time - 1)
    assert not client.closed
    server.clock.advance(1)
    server.clock.advance(Channel.abortTimeout)
    assert client.closed
    client.lose()


def test_a_slow_request_head_is_cut_off(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    for byte in b"GET / HTT":
        client.send(bytes([byte]))
        server.clock.advance(LIMITS.head_time / 10)
    server.clock.advance(LIMITS.head_time / 10)
    client.received()
    server.clock.advance(Channel.abortTimeout)
    assert client.transport.disconnected
    client.lose()


def test_plain_http_closes_the_connection(server: TlsServer) -> None:
    client = TlsClient(server)
    client.protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.closed
    client.lose()
    assert server.clock.getDelayedCalls() == []


def test_malformed_http_gets_a_bare_400(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    assert client.send(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    client.lose()


def test_back_pressure_from_the_protocol_pauses_the_transport(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.protocol.pauseProducing()
    assert client.transport.producerState == "paused"
    client.protocol.resumeProducing()
    assert client.transport.producerState == "producing"
    client.lose()


def test_a_connection_too_many_is_closed_at_once(server: TlsServer) -> None:
    limits = evolve(LIMITS, connections_per_source=1)
    server.site.admission.reconfigure(AdmissionSettings(limits))
    peer = IPv4Address("TCP", "192.0.2.7", 40000)
    client = TlsClient(server, peer=peer).shake_hands()
    client.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    assert server.factory.buildProtocol(peer) is None
    respond(server.facade.pending[0], 200, {}, b"done")
    assert server.factory.buildProtocol(peer) is not None, "the idle connection makes room"
    assert client.transport.disconnected
    client.lose()


def test_a_request_too_many_is_answered_over_tls_too(server: TlsServer) -> None:
    server.site.admission.reconfigure(AdmissionSettings(evolve(LIMITS, requests_per_source=1)))
    client = TlsClient(server, peer=IPv4Address("TCP", "192.0.2.7", 40000)).shake_hands()
    request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = [client.send(request)[:12] for _ in range(BURST + 1)]
    assert answers == [b"HTTP/1.1 200"] * BURST + [b"HTTP/1.1 429"]
    assert client.send(request) == b"", "nothing is read for a second"
    server.clock.advance(REFUSAL_PAUSE)
    assert client.received().startswith(b"HTTP/1.1 200")
    client.lose()


def test_a_handshake_that_is_too_large_is_aborted(server: TlsServer) -> None:
    client = TlsClient(server)
    hello = b"\x16\x03\x01\x40\x00\x01\x01\xf0\x00" + b"\x00" * 0x3FFC  # the first record of a ClientHello of 127 KB
    record = b"\x16\x03\x01\x40\x00" + b"\x00" * 0x4000
    client.protocol.dataReceived(hello)
    assert not client.closed
    for _ in range(HANDSHAKE_SIZE // len(record) + 1):
        client.protocol.dataReceived(record)
    assert client.transport.disconnected
    client.lose()
    assert server.site.channels == set()


def test_draining_closes_idle_connections_and_handshakes_and_waits_for_requests(server: TlsServer) -> None:
    idle, halfway, busy = TlsClient(server).shake_hands(), TlsClient(server), TlsClient(server).shake_hands()
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    drained = server.site.drain(5)
    assert halfway.closed
    idle.received()
    assert not busy.closed
    idle.lose()
    halfway.lose()
    respond(server.facade.pending[0], 200, {}, b"done")
    assert busy.received().endswith(b"done")
    busy.lose()
    assert drained.called
    assert server.clock.getDelayedCalls() == []


def test_draining_has_a_timeout(server: TlsServer) -> None:
    busy = TlsClient(server).shake_hands()
    busy.send(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    server.facade.pending[0].notifyFinish().addErrback(lambda _: None)
    drained = server.site.drain(5)
    server.clock.advance(5)
    assert busy.transport.disconnected
    busy.lose()
    assert drained.called


def test_renegotiation_is_refused(server: TlsServer) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    connection = SSL.Connection(context)
    connection.set_connect_state()
    client = TlsClient(server)

    def exchange() -> None:
        for _ in range(6):
            with contextlib.suppress(SSL.WantReadError):
                connection.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                client.protocol.dataReceived(connection.bio_read(1 << 16))
            server.clock.advance(0)
            if response := client.transport.value():
                connection.bio_write(response)
                client.transport.clear()

    exchange()
    assert connection.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        exchange()
    client.lose()


def test_a_connection_that_is_closed_before_its_answer_was_read_waits_for_the_farewell(server: TlsServer) -> None:
    client = TlsClient(server).shake_hands()
    client.send(b"GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    client.server.site.channels.copy().pop().pauseProducing()
    respond(server.facade.pending[0], 200, {}, b"done")
    assert client.received().endswith(b"done")
    assert client.transport.producerState == "producing"
    client.lose()
