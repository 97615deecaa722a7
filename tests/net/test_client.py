"""Error descriptions, trusted roots, and real connections that hang."""

import datetime
import errno
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from twisted.internet import defer, error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived

from facaded.backends.ladder import build_probe
from facaded.net.client import describe_error, is_local_error
from facaded.net.connections import trust_policy
from facaded.net.late_client import late_client
from facaded.net.reactor import installed
from facaded.net.text import TEXT_LENGTH, printable
from facaded.policy.health import ProbeDepth, Step, Verdict


@pytest.mark.parametrize(
    ("problem", "description"),
    [
        (error.ConnectionRefusedError(), "connection refused"),
        (error.DNSLookupError("x"), "the name does not resolve"),
        (error.TCPTimedOutError(), "timeout"),
        (error.TimeoutError(), "timeout"),
        (defer.TimeoutError(3, "Deferred"), "timeout"),
        (error.NoRouteError(), "no route to host"),
        (error.ConnectError(), "connection failed"),
        (error.NoRouteError(errno.ENETUNREACH, "Network is unreachable"), "network is unreachable"),
        (error.ConnectBindError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError(errno.ENOBUFS, "x"), "no buffer space available"),
        (error.ConnectionDone(), "connection closed without a response"),
        (error.ConnectionLost(), "connection reset"),
        (ResponseNeverReceived([Failure(error.ConnectionLost())]), "connection reset"),
        (ResponseFailed([Failure(ValueError("non-integer status code", b"HTTP0 OK"))]), "malformed response"),
        (ResponseFailed([Failure(ResponseNeverReceived([Failure(error.ConnectionLost())]))]), "connection reset"),
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS: certificate verify failed"),
        (SSL.Error(), "TLS: Error"),
        (ValueError("a\r\nb\x1b[1m"), "a??b?[1m"),
        (ValueError(), "ValueError"),
    ],
)
def test_an_error_is_described_in_a_few_words(problem: Exception, description: str) -> None:
    assert describe_error(problem) == description


@pytest.mark.parametrize(
    "number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENETUNREACH]
)
def test_an_error_of_this_machine_is_local(number: int) -> None:
    errors = [
        OSError(number, "x"),
        error.getConnectError((number, "x")),
        error.ConnectBindError(number, "x"),
        error.ConnectError(string=number),
    ]
    assert all(is_local_error(problem) for problem in errors)
    for problem in errors:
        reasons = [Failure(error.ConnectionLost()), Failure(problem)]
        assert is_local_error(ResponseNeverReceived(reasons))
        assert is_local_error(ResponseFailed([Failure(ResponseNeverReceived(reasons))]))
        assert is_local_error(RequestTransmissionFailed(reasons))


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.EHOSTUNREACH, "No route to host"),
        error.getConnectError((errno.EHOSTUNREACH, "No route to host")),
        error.ConnectionRefusedError(errno.ECONNREFUSED, "x"),
        error.ConnectError(),
        error.NoRouteError(),
        error.DNSLookupError("x"),
        defer.TimeoutError(errno.EMFILE, "Deferred"),
        ResponseNeverReceived([Failure(error.ConnectionLost())]),
        ResponseFailed([]),
        SSL.Error(),
        ValueError(errno.EMFILE),
    ],
)
def test_an_error_of_the_server_or_of_the_way_to_it_is_not_local(problem: Exception) -> None:
    assert not is_local_error(problem)


def test_untrusted_text_is_shortened_for_the_log() -> None:
    assert len(printable("x" * 1000)) == TEXT_LENGTH


def test_missing_or_invalid_roots_raise_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        trust_policy(tmp_path / "none.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    with pytest.raises(crypto.Error):
        trust_policy(empty)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    with pytest.raises(crypto.Error):
        trust_policy(broken)


class Hanging(Protocol):
    """A registry that sends `response`, then nothing more, and keeps the connection open."""

    def __init__(self, response: bytes, closed: Deferred[None]) -> None:
        self.response = response
        self.closed = closed

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.response)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\n\r\nendless",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_registry_that_hangs_at_any_point_is_a_timeout_and_its_connection_is_closed(response: bytes) -> None:
    closed: Deferred[None] = Deferred()
    factory = Factory.forProtocol(lambda: Hanging(response, closed))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    probe = build_probe(
        installed(), f"http://127.0.0.1:{port.getHost().port}", None, None, timeout=0.3, has_account=False
    )
    result = await probe(ProbeDepth())
    assert (result.verdict, result.step, result.reason) == (Verdict.BAD, Step.PING, "timeout")
    assert 0.3 <= result.latency < 2
    await closed.addTimeout(2, reactor)
    await port.stopListening()


class Flooding(Protocol):
    """A registry that sends a response head without an end."""

    def __init__(self, closed: Deferred[None]) -> None:
        self.closed: Deferred[None] | None = closed
        self.sent = 0

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 200 OK\r\n")
        self._flood()

    def _flood(self) -> None:
        assert self.transport is not None
        if self.closed is not None:
            self.transport.write(b"X-Flood: aaaaaaaaaaaaaaaa\r\n" * 1000)
            self.sent += 1
            reactor.callLater(0.001, self._flood)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        closed, self.closed = self.closed, None
        assert closed is not None
        closed.callback(None)


@pytest_twisted.ensureDeferred
async def test_a_response_head_without_an_end_is_aborted() -> None:
    closed: Deferred[None] = Deferred()
    flooding: list[Flooding] = []

    def build() -> Flooding:
        flooding.append(Flooding(closed))
        return flooding[-1]

    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(build))
    result = await build_probe(
        installed(), f"http://127.0.0.1:{port.getHost().port}", None, None, timeout=10, has_account=False
    )(ProbeDepth())
    assert result.verdict is Verdict.BAD
    assert result.latency < 5, "aborted by its size and not by the timeout"
    await closed.addTimeout(2, reactor)
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_refused_connection_is_noticed_at_once() -> None:
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Factory.forProtocol(Protocol))
    address = port.getHost().port
    await port.stopListening()
    result = await build_probe(installed(), f"http://127.0.0.1:{address}", None, None, timeout=3, has_account=False)(
        ProbeDepth()
    )
    assert (result.verdict, result.reason) == (Verdict.BAD, "connection refused")
    assert result.latency < 1


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A registry with TLS and a self-signed certificate: its URL and the certificate's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    formats = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, *formats))

    class EmptyRegistry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyRegistry)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, secret)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it hangs up
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", chain
    server.shutdown()
    server.server_close()


@pytest_twisted.ensureDeferred
async def test_a_backend_s_certificate_is_verified_against_its_own_roots_or_the_system_s(
    secure: tuple[str, Path],
) -> None:
    url, roots = secure
    trusted = await build_probe(installed(), url, roots, None, timeout=3, has_account=False)(ProbeDepth())
    assert (trusted.verdict, trusted.reason) == (Verdict.GOOD, "no authentication required")
    untrusted = await build_probe(installed(), url, None, None, timeout=3, has_account=False)(ProbeDepth())
    assert untrusted.verdict is Verdict.BAD
    assert untrusted.reason == "TLS: certificate verify failed"


@pytest_twisted.ensureDeferred
async def test_pooled_requests_use_tls(secure: tuple[str, Path]) -> None:
    url, roots = secure
    registry = late_client(installed(), url, roots)
    for _ in range(2):
        response = await registry.ask("GET", f"{url}/v2/", headers={}, limit=100)
        assert (response.status, response.body) == (200, b"{}")
