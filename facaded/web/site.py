"""The HTTP server under everything: what is malformed, too large or too slow ends here, before any resource sees it.

`HTTPChannel` parses; `Channel` adds the bounds that it leaves open: a time for a request's head, a size and a time
for its body, exactly one Host, and an answer to a TLS hello on a plain port.
"""

import re
from collections.abc import Callable, Mapping
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
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import HTTPChannel
from twisted.web.resource import IResource
from twisted.web.server import Request, Site
from zope.interface import implementer

HEAD_TIME = 10.0
"""Seconds from the first byte of a request to the end of its head: a client that needs longer is stuck, or hostile."""

HANDSHAKE_TIME = 10.0
"""Seconds from the opening of a connection to the end of its TLS handshake, which is two round trips."""

IDLE_TIME = 60.0
"""Seconds that a kept connection may wait for its next request, as most servers allow."""

BODY_SIZE = 64 << 10
"""Bytes of a request's body that are read, and thrown away: nothing here has a use for one."""

BODY_TIME = 2.0
"""Seconds that a body may take before its connection is closed."""

CONNECTIONS = 10_000
"""Connections to one listener at a time. Each is some 10 KiB; beyond this, new ones are closed at once."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


class Channel(HTTPChannel):
    """One connection. See the module for what it adds to Twisted's."""

    site: "BoundedSite"
    _spoken = False
    _closed = False
    _draining = False
    _expects = False
    _discarding = False
    _discarded = 0
    _request_line = b""
    _deadline: IDelayedCall | None = None
    _end: IDelayedCall | None = None

    def connectionMade(self) -> None:
        HTTPChannel.connectionMade(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._set_deadline(None)
        if self._end is not None and self._end.active():
            self._end.cancel()
        HTTPChannel.connectionLost(self, reason)
        self.site.gone(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer a TLS hello at once:

        Docker tries plain HTTP on a loopback address only after an answer that begins with `HTTP/`.
        """
        if not self._spoken and data.startswith(_TLS_HANDSHAKE):
            self._refuse()
        if self._closed:
            return
        self._spoken = True
        if self._deadline is None and not self.requests:
            self._set_deadline(HEAD_TIME)
        HTTPChannel.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        begun = len(self.requests)
        HTTPChannel.lineReceived(self, line)
        if len(self.requests) > begun:
            self._request_line = line
            if self._deadline is None:
                self._set_deadline(HEAD_TIME)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse()

    def headerReceived(self, line: bytes) -> bool:
        """Refuse control characters and bad lengths. Take out Expect: Twisted would ask for the body by it."""
        name, _, value = line.lower().partition(b":")
        length = _LENGTHS.get(name)
        if _CONTROL.search(line) or (length and not length.fullmatch(value.strip(b" \t"))):
            self._refuse()
            return False
        if name == b"expect":
            self._expects = True
            return True
        return bool(HTTPChannel.headerReceived(self, line))

    def allHeadersReceived(self) -> None:
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"Host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            self._refuse()
        HTTPChannel.allHeadersReceived(self)
        self._set_deadline(None)
        if self._draining:
            self._last()
        if self._closed or self.length == 0:
            return
        self._set_deadline(BODY_TIME)
        if self.length is None or self.length > BODY_SIZE or self._expects:
            self._answer_early()

    def allContentReceived(self) -> None:
        self._set_deadline(None)
        self._expects = False
        if not self._closed:
            HTTPChannel.allContentReceived(self)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._discarding:
            HTTPChannel.rawDataReceived(self, data)
            return
        self._discarded += len(data)
        if self._discarded > BODY_SIZE:
            self._close()

    def loseConnection(self) -> None:
        """Called when the answer is written.

        A client that is still sending its body reads the answer only if we go on receiving.
        """
        if not self._discarding:
            self._close()

    def finish_up(self) -> None:
        """Close now if nothing is in flight, else when the answer is written."""
        self._draining = True
        self.persistent = False
        if not self.requests:
            self._close()

    def pauseProducing(self) -> None:
        """The client does not read its answers: read no more of its requests, those that are here already included.

        Twisted goes on reading while a request is being answered, and pipelined ones are answered as they are read.
        """
        HTTPChannel.pauseProducing(self)
        self.paused = True
        IPushProducer(self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read its answers."""
        self.paused = False
        HTTPChannel.resumeProducing(self)
        HTTPChannel.dataReceived(self, b"")

    def abort(self) -> None:
        """End the connection whatever is in flight."""
        ITCPTransport(self.transport).abortConnection()

    def _answer_early(self) -> None:
        """Answer before the body has come, throw away what comes of it within the bounds, and close."""
        self._discarding = True
        self._last()
        self.requests[-1].requestReceived(*self._request_line.split(b" "))

    def _last(self) -> None:
        """The request that is being read is this connection's last."""
        self.persistent = False
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.site.reactor.callLater(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        if self.requests and not self._discarding and self.requests[-1].content is not None:
            self._answer_early()
        self._close()

    def _refuse(self) -> None:
        """A bare 400: what came is not HTTP as RFC 9112 has it, and there is no request to answer."""
        if not self._closed:
            assert self.transport is not None
            self.transport.write(BAD_REQUEST)
            self._close()

    def _close(self) -> None:
        """Once: what Twisted or the client does after this must not lead to a second answer.

        What is still unsent is given `abortTimeout`: a client that does not read must not hold the connection for ever.
        """
        self._set_deadline(None)
        if self._closed:
            return
        self._closed = True
        self._end = self.site.reactor.callLater(self.abortTimeout, self.abort)
        HTTPChannel.loseConnection(self)


@implementer(IHandshakeListener)
class SecureChannel(Channel):
    """One connection over TLS. Its handshake has a time as well: until it ends, nothing else would run out."""

    def connectionMade(self) -> None:
        Channel.connectionMade(self)
        self._set_deadline(HANDSHAKE_TIME)

    def handshakeCompleted(self) -> None:
        """Part of IHandshakeListener."""
        self._set_deadline(None)


class _Nowhere:
    """Where a request's body goes."""

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


class _Request(Request):
    """A request whose every target is the resource's to judge: Twisted would answer `*` by itself."""

    channel: Channel

    def process(self) -> None:
        self.site = self.channel.site
        self.responseHeaders.setRawHeaders(b"Date", [http.datetimeToString()])
        try:
            Request.render(self, self.channel.site.resource)
        except Exception:
            Request.processingFailed(self, Failure())


class BoundedSite(Site):
    """A web site with `Channel`'s bounds, and an end that waits for what is in flight.

    `answered` is called with every request whose answer has been written.
    """

    noisy = False
    requestFactory = _Request
    protocol = Channel  # type: ignore[assignment]  # Twisted says its own wrapper, which adds HTTP/2; any HTTPChannel works

    def __init__(self, resource: IResource, reactor: IReactorTime, answered: Callable[[http.Request], None]) -> None:
        Site.__init__(self, resource, timeout=IDLE_TIME, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[Channel] = set()
        self._answered = answered
        self._drained: Deferred[None] | None = None

    @property
    def full(self) -> bool:
        """Whether no more connections are taken."""
        return len(self.channels) >= CONNECTIONS

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if self.full else Site.buildProtocol(self, addr)

    def startFactory(self) -> None:
        """Nothing: Twisted would keep a log file and a date for it."""

    def stopFactory(self) -> None:
        """Nothing: see `startFactory`."""

    def getContentFile(self, length: int | None) -> _Nowhere:
        """Bodies are not kept: Twisted would put a large one on the disk."""
        return _Nowhere()

    def log(self, request: http.Request) -> None:
        """Called by Twisted when an answer has been written."""
        self._answered(request)

    def gone(self, channel: Channel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if not self.channels and self._drained is not None and not self._drained.called:
            self._drained.callback(None)

    def drain(self, seconds: float) -> Deferred[None]:
        """Close idle connections now and busy ones when they are answered, or after `seconds`.

        Fires when all are gone.
        """
        self._drained = Deferred()
        drained = self._drained
        overdue = self.reactor.callLater(seconds, self._abort)
        for channel in list(self.channels):
            channel.finish_up()
        if not self.channels and not drained.called:
            drained.callback(None)
        return drained.addBoth(lambda _: overdue.cancel() if overdue.active() else None)

    def _abort(self) -> None:
        for channel in list(self.channels):
            channel.abort()


class SecureSite(BoundedSite):
    """The same for connections over TLS."""

    protocol = SecureChannel


def head(request: Request, status: int, headers: Mapping[str, str]) -> None:
    """Set the head of an answer, with what every answer has."""
    request.setResponseCode(status, HTTPStatus(status).phrase.encode("ascii"))  # Twisted's own list has no 421
    request.setHeader("Server", "facaded")
    request.setHeader("X-Content-Type-Options", "nosniff")
    for name, value in headers.items():
        request.setHeader(name, value)


def respond(request: Request, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
    """Write an answer and end it. A HEAD gets the head that a GET would, `Content-Length` included.

    `length` is that of a body which only a GET would have.
    """
    head(request, status, headers)
    if status not in http.NO_BODY_CODES:
        request.setHeader("Content-Length", str(len(body) if length is None else length))
    request.write(body)
    request.finish()
