"""The HTTP server: it refuses requests that are malformed, too large or too slow before a resource sees them.

`HTTPChannel` parses. `StrictChannel` and `Channel` add what it lacks: a timeout for a request's head, a size limit and
a timeout for its body, exactly one Host header, and an answer to a TLS hello on a plain port.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

from facaded.oci.clients import Client, identify
from facaded.web.answered_requests import UNDECIDED, AnsweredRequest, Decision, Subscriber, parse_first_byte

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

CONNECTIONS = 10_000
"""Concurrent connections per listener, of about 10 KiB each; further ones are closed at once."""

TARGET_LENGTH = 400
"""Characters of a request-target that subscribers see: the longest valid path is shorter."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_NOT_PRINTABLE = re.compile(r"[^!-~]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


class Deadline:
    """A timer that calls `expired` unless it is set again or cleared first."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Expire after `seconds` from now."""
        self.clear()
        self._call = self._clock.callLater(seconds, self._expire)

    def clear(self) -> None:
        """Do not expire."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _expire(self) -> None:
        self._call = None
        self._expired()


class StrictChannel(HTTPChannel):
    """Refuses what is not HTTP by RFC 9112 with a bare 400, and closes the connection."""

    site: "BoundedSite"
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

    def connectionMade(self) -> None:
        self.deadline = Deadline(self.site.reactor, self._time_out)
        StrictChannel.connectionMade(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline.clear()
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

    def resumeProducing(self) -> None:
        """Continue with the requests that are already here, and read more."""
        self.paused = False
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


class _DiscardedBody:
    """A file for a request's body that keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)

    def read(self, size: int = -1) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def tell(self) -> int:
        return 0

    def close(self) -> None:
        pass


class BoundedRequest(Request):
    """A request that is passed to the resource whatever its target: Twisted would answer `*` by itself."""

    channel: Channel
    site: "BoundedSite"
    identified_client: Client | None = None
    decision = UNDECIDED
    started_at = 0.0

    def process(self) -> None:
        self.site = self.channel.site
        self.started_at = self.site.reactor.seconds()
        self.responseHeaders.setRawHeaders(b"Date", [http.datetimeToString()])
        try:
            Request.render(self, self.site.resource)
        except Exception:
            Request.processingFailed(self, Failure())

    def as_answered(self) -> AnsweredRequest:
        """Return this request as a value for subscribers, after its answer has been written."""
        return AnsweredRequest(
            _address(self),
            self.method.decode("latin-1"),
            _printable_path(self.uri),
            self.identified_client or identify(_header_text(self, b"User-Agent")),
            self.decision,
            self.code,
            self.sentLength,
            self.site.reactor.seconds() - self.started_at,
            parse_first_byte(_header_text(self, b"Range")),
        )


class BoundedSite(Site):
    """A web site with the limits of `Channel`, and a shutdown that waits for requests in progress.

    Each of `subscribers` is called with each request whose answer has been written.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted names its wrapper for HTTP/2, but any HTTPChannel works
    _log = Logger()

    def __init__(self, resource: IResource, reactor: IReactorTime, subscribers: Sequence[Subscriber] = ()) -> None:
        Site.__init__(self, resource, timeout=IDLE_TIME, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[Channel] = set()
        self._subscribers = tuple(subscribers)
        self._drained: Deferred[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether further connections are closed at once."""
        return len(self.channels) >= CONNECTIONS

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if self.is_full else Site.buildProtocol(self, addr)

    def startFactory(self) -> None:
        """Do nothing: Twisted would open a log file, and update its date each second."""

    def stopFactory(self) -> None:
        """Do nothing: see `startFactory`."""

    def getContentFile(self, length: int | None) -> _DiscardedBody:
        """Return a file that discards the body: Twisted would write a large one to disk."""
        return _DiscardedBody()

    def log(self, request: http.Request) -> None:
        """Call the subscribers. Twisted calls this when an answer has been written."""
        if not self._subscribers or not isinstance(request, BoundedRequest):
            return
        answered = request.as_answered()
        for subscriber in self._subscribers:
            try:
                subscriber(answered)
            except Exception:
                self._log.failure("a subscriber failed for an answered request")

    def remove(self, channel: Channel) -> None:
        """Remove a connection that has ended."""
        self.channels.discard(channel)
        if not self.channels and self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def drain(self, seconds: float) -> Deferred[None]:
        """Close idle connections now, and busy ones after their answers, but all of them after `seconds`.

        The Deferred fires when all are closed.
        """
        self._drained = drained = Deferred[None]()
        overdue = self.reactor.callLater(seconds, self._abort_channels)
        for channel in list(self.channels):
            channel.close_when_idle()
        if not self.channels and not drained.called:
            drained.callback(None)
        return drained.addBoth(lambda _: overdue.cancel() if overdue.active() else None)

    def _abort_channels(self) -> None:
        for channel in list(self.channels):
            channel.abort()


class SecureSite(BoundedSite):
    """A `BoundedSite` for connections over TLS."""

    protocol = SecureChannel


def write_head(request: Request, status: int, headers: Mapping[str, str]) -> None:
    """Set an answer's status and headers, including those of every answer."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))  # Twisted has no phrase for 421
    request.setHeader("Server", "facaded")
    request.setHeader("X-Content-Type-Options", "nosniff")
    for name, value in headers.items():
        request.setHeader(name, value)


def respond(request: Request, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
    """Write a whole answer. A HEAD gets the headers of a GET, including `Content-Length`, without the body.

    `length` is the length of the body that a GET would have, if `body` is not that body.
    """
    write_head(request, status, headers)
    if status not in http.NO_BODY_CODES:
        request.setHeader("Content-Length", str(len(body) if length is None else length))
    request.write(body)
    request.finish()


def record_decision(request: Request, client: Client, decision: Decision) -> None:
    """Record a request's client and what was decided about it, for the subscribers of answered requests."""
    if isinstance(request, BoundedRequest):
        request.identified_client, request.decision = client, decision


def _address(request: Request) -> str:
    return getattr(request.getClientAddress(), "host", None) or "-"  # a Unix socket has none


def _header_text(request: Request, name: bytes) -> str:
    return (request.getHeader(name) or b"").decode("latin-1")


def _printable_path(target: bytes) -> str:
    """Return a request-target in printable ASCII, without its query, which may carry tokens."""
    path = target.partition(b"?")[0][:TARGET_LENGTH].decode("latin-1")
    return _NOT_PRINTABLE.sub("?", path)
