"""Connections of HTTP/1.1 clients: they refuse what is malformed, too large or too slow before a resource sees it.

`HTTPChannel` parses. `StrictChannel` and `Channel` add what it lacks: a timeout for a request's head, a size limit and
a timeout for its body, exactly one Host header, and an answer to a TLS hello on a plain port.
"""

import re
from typing import Any, Protocol

from twisted.internet.interfaces import IHandshakeListener, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from facaded.web.deadline import Deadline
from facaded.web.slow_readers import StallTimer, limit_buffers
from facaded.web.unsent_bytes import UnsentBytes

HEAD_TIME = 10.0
"""Seconds from the first byte of a request to the end of its head: a client that needs longer is stuck or hostile."""

HANDSHAKE_TIME = 10.0
"""Seconds from the opening of a connection to the end of its TLS handshake, which takes two round trips."""

IDLE_TIME = 60.0
"""Seconds that an idle connection is kept open, as most servers do."""

BODY_SIZE = 64 << 10
"""Bytes of a request's body that are read and discarded: no request that facaded answers has a body."""

BODY_TIME = 2.0
"""Seconds that a body may take until its connection is closed."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


class ChannelSite(Protocol):
    """What a channel needs of its site: the clock, the open channels, and the limits for slow readers or None."""

    reactor: IReactorTime
    channels: set[Any]
    unsent: UnsentBytes | None
    is_stopping: bool

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
        self.abort_deadline.clear()
        HTTPChannel.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """Refuse a TLS hello at once.

        Docker tries plain HTTP on a loopback address only if the answer to its hello begins with `HTTP/`.
        """
        if not self._has_received and data.startswith(_TLS_HANDSHAKE):
            self.refuse()
        if not self.closed:
            self._has_received = True
            HTTPChannel.dataReceived(self, data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse()

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
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
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
        """Close the connection without sending what is in flight."""
        ITCPTransport(self.transport).abortConnection()

    def timeoutConnection(self) -> None:
        """Close an idle connection. Twisted would log each, which may be thousands per hour."""
        self.close()


class Channel(StrictChannel):
    """One connection, with a timeout for each request's head, and a size limit and a timeout for its body."""

    _draining = False
    _discarding = False
    _discarded = 0
    _request_line = b""
    _stall_timer: StallTimer | None = None

    def connectionMade(self) -> None:
        self.deadline = Deadline(self.site.reactor, self._time_out)
        StrictChannel.connectionMade(self)
        assert self.transport is not None
        limit_buffers(self.transport)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline.clear()
        if self._stall_timer is not None:
            self._stall_timer.stop()
        StrictChannel.connectionLost(self, reason)
        self.site.remove(self)

    def dataReceived(self, data: bytes) -> None:
        if not self.closed and not self.deadline.is_set and not self.requests:
            self.deadline.set(HEAD_TIME)
        StrictChannel.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        requests_before = len(self.requests)
        HTTPChannel.lineReceived(self, line)
        if len(self.requests) > requests_before:
            self._request_line = line
            if not self.deadline.is_set:
                self.deadline.set(HEAD_TIME)

    def allHeadersReceived(self) -> None:
        StrictChannel.allHeadersReceived(self)
        self.deadline.clear()
        if self._draining:
            self._make_last()
        if self.closed or self.length == 0:
            return
        self.deadline.set(BODY_TIME)
        if self.length is None or self.length > BODY_SIZE or self.expects_continue:
            self._answer_early()

    def allContentReceived(self) -> None:
        self.deadline.clear()
        self.expects_continue = False
        if not self.closed:
            HTTPChannel.allContentReceived(self)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._discarding:
            HTTPChannel.rawDataReceived(self, data)
            return
        self._discarded += len(data)
        if self._discarded > BODY_SIZE:
            self.close()

    def loseConnection(self) -> None:
        """Close when the answer has been written, but not while a body is being discarded.

        A client that is still sending its body may read the answer only after that.
        """
        if not self._discarding:
            self.close()

    def close(self) -> None:
        self.deadline.clear()
        StrictChannel.close(self)

    def close_when_idle(self) -> None:
        """Close now if no request is in progress, else after its answer."""
        self._draining = True
        self.persistent = False
        if not self.requests:
            self.close()

    def pauseProducing(self) -> None:
        """Stop reading and parsing requests while the client does not read its answers.

        By itself, Twisted would continue to read, and to answer pipelined requests that it has already read.
        """
        HTTPChannel.pauseProducing(self)
        self.paused = True
        IPushProducer(self.transport).pauseProducing()
        if self.site.unsent is not None and self._stall_timer is None:
            assert self.transport is not None
            self._stall_timer = StallTimer(self.transport, self.site.reactor, self.site.unsent, self.abort)
            self._stall_timer.start()

    def resumeProducing(self) -> None:
        """Continue with the requests that are already here, and read more."""
        self.paused = False
        if self._stall_timer is not None:
            self._stall_timer.stop()
            self._stall_timer = None
        HTTPChannel.resumeProducing(self)
        HTTPChannel.dataReceived(self, b"")

    def _answer_early(self) -> None:
        """Answer before the body has arrived, discard the body within its limits, and close."""
        self._discarding = True
        self._make_last()
        self.requests[-1].requestReceived(*self._request_line.split(b" "))

    def _make_last(self) -> None:
        """Make the current request the last one of this connection."""
        self.persistent = False
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _time_out(self) -> None:
        if self.requests and not self._discarding and self.requests[-1].content is not None:
            self._answer_early()
        self.close()


@implementer(IHandshakeListener)
class SecureChannel(Channel):
    """One connection over TLS, with a timeout for its handshake too."""

    def connectionMade(self) -> None:
        Channel.connectionMade(self)
        self.deadline.set(HANDSHAKE_TIME)

    def handshakeCompleted(self) -> None:
        """End the handshake's timeout; part of IHandshakeListener."""
        self.deadline.clear()
