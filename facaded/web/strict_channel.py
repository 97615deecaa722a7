"""Connections that refuse what is malformed HTTP/1.1 before anything else sees it. `HTTPChannel` parses."""

import re
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from facaded.web.admission import Admission
from facaded.web.deadline import Deadline
from facaded.web.unsent_bytes import UnsentBytes

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""A valid Host header (RFC 9110 §7.2), which may be empty."""

PARAMETERS = 200
"""Parameters in the query of a request-target. The registry refuses fewer with a sentence; see `requests.is_query`."""

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class DirectAnswering(Protocol):
    """Answers simple requests without the Site and the Resource."""

    def answer(self, channel: Any, data: bytes) -> bool:
        """Answer the request that `data` consists of; return False if that is nothing simple."""


class ChannelSite(Protocol):
    """What a channel needs of its site: the clock, the limits (`unsent` may be None), and the set of open channels.

    `direct` is None if all requests take the ordinary path.
    """

    reactor: IReactorTime
    admission: Admission
    channels: set[Any]
    unsent: UnsentBytes | None
    is_stopping: bool
    direct: DirectAnswering | None

    def remove(self, channel: Any) -> None:
        """Remove a connection that has ended."""


class StrictChannel(HTTPChannel):
    """Refuses what is not HTTP by RFC 9112 with a bare 400, and closes the connection."""

    site: ChannelSite
    closed = False
    expects_continue = False
    _has_received = False

    def connectionMade(self) -> None:
        HTTPChannel.connectionMade(self)
        self.abort_deadline = Deadline(self.site.reactor, self.abort)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.abort_deadline.end()
        HTTPChannel.connectionLost(self, reason)

    def parse(self, data: bytes) -> None:
        """Parse what has arrived, and refuse a TLS hello at once.

        Docker tries plain HTTP on a loopback address only if the answer to its hello begins with `HTTP/`.
        """
        if not self._has_received and data.startswith(_TLS_HANDSHAKE):
            self.refuse()
        if not self.closed:
            self._has_received = True
            HTTPChannel.dataReceived(self, data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse()

    def lineReceived(self, line: bytes) -> None:
        """Refuse a folded header (RFC 9112 §5.2): a proxy may read it differently."""
        if line.startswith((b" ", b"\t")):
            self.refuse()
        else:
            HTTPChannel.lineReceived(self, line)

    def headerReceived(self, line: bytes) -> bool:
        """Refuse control characters and invalid lengths. Drop Expect: Twisted would answer it with 100 Continue."""
        name, _, value = line.lower().partition(b":")
        length = _LENGTHS.get(name)
        if _CONTROL.search(line) or (length and not length.fullmatch(value.strip(b" \t"))):
            self.refuse()
            return False
        if name == b"expect":
            self.expects_continue = True
            return True
        return bool(HTTPChannel.headerReceived(self, line))

    def allHeadersReceived(self) -> None:
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"Host", [])
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
            self.refuse()
        HTTPChannel.allHeadersReceived(self)

    def refuse(self) -> None:
        """Write a bare 400, because there is no request to answer, and close."""
        if not self.closed:
            assert self.transport is not None
            self.transport.write(BAD_REQUEST)
            self.close()

    def close(self) -> None:
        """Close the connection. After the first call, nothing that arrives is answered.

        Unsent data is dropped after `abortTimeout`, so a client that does not read cannot keep the connection open.
        """
        if not self.closed:
            self.closed = True
            self.abort_deadline.set(self.abortTimeout)
            HTTPChannel.loseConnection(self)

    def abort(self) -> None:
        """Close the connection without sending what is in flight. Nothing that has arrived is answered."""
        self.closed = True
        ITCPTransport(self.transport).abortConnection()

    def timeoutConnection(self) -> None:
        """Close an idle connection. Twisted would log each, which may be thousands per hour."""
        self.close()
