"""Headers of the PROXY protocol: valid ones pass on unchanged, and others end the connection before they are parsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from zope.interface import alsoProvides

from facaded.net.proxy_protocol import HEADER_SIZE, guard_headers

VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)
VALID = [
    b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    VERSION_2,
]


class Received(Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class Guarded:
    """A connection in memory behind a guard."""

    def __init__(self) -> None:
        self.inner = Received()
        factory: Factory = Factory.forProtocol(lambda: self.inner)
        self.protocol = guard_headers(factory).buildProtocol(None)
        self.transport = StringTransport()
        alsoProvides(self.transport, ITCPTransport)
        self.protocol.makeConnection(self.transport)

    @property
    def aborted(self) -> bool:
        return self.transport.disconnecting


@pytest.mark.parametrize("header", VALID)
def test_a_valid_header_passes_on_in_one_piece_however_it_arrives(header: bytes) -> None:
    guarded = Guarded()
    for number in range(len(header)):
        guarded.protocol.dataReceived(header[number : number + 1])
    guarded.protocol.dataReceived(b"GET / HTTP/1.1\r\n")
    assert not guarded.aborted
    assert guarded.inner.data == header + b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 9.9.9.9 1.1.1.1 x 2\r\n",
        b"PROXY TCP4 \xff 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 evil\x1b[31m 1.1.1.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY UNIX a b\r\n",
        b"PROXY UNKNOWN \xff\r\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x00\xc7\x01",
        b"PROXY TCP4 " + b"1" * HEADER_SIZE,
    ],
)
def test_another_header_ends_the_connection_and_is_not_passed_on(header: bytes) -> None:
    guarded = Guarded()
    guarded.protocol.dataReceived(header)
    assert guarded.aborted
    assert guarded.inner.data == b""


@given(st.lists(st.binary(min_size=1, max_size=60) | st.sampled_from(VALID), max_size=6))
def test_any_bytes_pass_on_unchanged_or_end_the_connection(pieces: list[bytes]) -> None:
    guarded = Guarded()
    for piece in pieces:
        if not guarded.aborted:
            guarded.protocol.dataReceived(piece)
    assert guarded.inner.data in (b"", b"".join(pieces))
