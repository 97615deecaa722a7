"""TLS handshakes from any bytes: the connection waits for more or closes, in bounded space."""

import ssl
from functools import cache

from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from facaded.backends.reached_limits import LOG_INTERVAL
from facaded.policy.limits import Limits
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.secure_factory import SecureFactory
from facaded.web.channel import Channel
from facaded.web.server import SecureSite
from tests.fuzz.checking import Property, no_error_is_logged, timers_left
from tests.fuzz.mutations import CUTS, mostly_mutated, split
from tests.tls.authority import NOW
from tests.tls.served import call_now
from tests.web.raw import Transport

MOST_SENT = 16 << 10
"""Bytes that the server may send to a client that has not finished a handshake: its flight has about 1 KiB."""

TLS_WORDS = (
    b"\x16\x03\x01",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x17\x03\x03\x40\x00",
    b"\x80\x2e\x01\x03\x01",
    b"\x00\x00",
    b"\xff\xff",
    b"\x00\x10\x00\x0b\x00\x09\x08http/1.1",
    b"\x0aacme-tls/1",
    b"docker.lab.test",
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(255),
)


def _hello(name: str | None, protocols: tuple[str, ...], version: ssl.TLSVersion) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("there is no server")


HELLOS = tuple(
    _hello(name, protocols, version)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    for name, protocols in (("docker.lab.test", ("h2", "http/1.1")), (None, ()), ("docker.lab.test", ("acme-tls/1",)))
)


@cache
def certificates() -> Certificates:
    """A self-signed certificate: making one takes longer than a handshake."""
    return Certificates(Challenges(), Clock(), NOW.timestamp, call_now, (), ("docker.lab.test",))


def check_hello(example: tuple[bytes, list[int]]) -> None:
    """Any bytes leave a connection that waits until its time is over, or that is closed."""
    clock = Clock()
    site = SecureSite(Resource(), clock)
    factory = SecureFactory(site, certificates(), clock)
    transport = Transport()
    with no_error_is_logged():
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        protocol.makeConnection(transport)
        for piece in split(*example):
            protocol.dataReceived(piece)
            clock.advance(0)
        assert len(transport.value()) <= MOST_SENT
        clock.advance(Limits().handshake_time)
        clock.advance(Channel.abortTimeout)
        assert transport.disconnecting or transport.disconnected
        protocol.connectionLost(Failure(ConnectionDone()))
        clock.advance(LOG_INTERVAL)
    assert timers_left(clock) == []
    assert site.channels == set()


PROPERTIES = (Property("hellos", st.tuples(mostly_mutated(HELLOS, TLS_WORDS), CUTS), check_hello, 80),)
