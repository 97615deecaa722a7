"""The HTTP server under everything: what is malformed, too large or too slow ends here, before any resource sees it.

`HTTPChannel` parses; `StrictChannel` and `Channel` add the bounds that it leaves open: a time for a request's head, a
size and a time for its body, exactly one Host, and an answer to a TLS hello on a plain port.
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
from facaded.web.answered import UNDECIDED, Answered, Decision, Subscriber

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

TARGET_LENGTH = 400
"""Characters of a request-target that are told to subscribers: the longest lawful path is shorter."""

BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_LENGTHS = {b"content-length": re.compile(rb"\d{1,18}"), b"transfer-encoding": re.compile(rb"chunked")}
_TLS_HANDSHAKE = b"\x16"
_STRANGE = re.compile(r"[^!-~]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")


class Deadline:
    """A time after which `expired` is called, unless it is set anew or cleared before."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Expire in so many seconds from now."""
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
    """Refuses what is not HTTP as RFC 9112 has it, with a bare 400, and closes its connection once."""

    site: "BoundedSite"
    closed = False
    expects_continue = False
    _spoken = False

    def connectionMade(self) -> None:
        HTTPChannel.connectionMade(self)
        self.last_moment = Deadline(self.site.reactor, self.abort)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.last_moment.clear()
        HTTPChannel.connectionLost(self, reason)

    def dataReceived(self, data: bytes) -> None:
        """Answer a TLS hello at once:

        Docker tries plain HTTP on a loopback address only after an answer that begins with `HTTP/`.
        """
        if not self._spoken and data.startswith(_TLS_HANDSHAKE):
            self.refuse()
        if not self.closed:
            self._spoken = True
            HTTPChannel.dataReceived(self, data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse()

    def headerReceived(self, line: bytes) -> bool:
        """Refuse control characters and bad lengths. Take out Expect: Twisted would ask for the body by it."""
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
        """Answer a bare 400: there is no request to answer."""
        if not self.closed:
            assert self.transport is not None
            self.transport.write(BAD_REQUEST)
            self.close()

    def close(self) -> None:
        """Close once: what Twisted or the client does after this must not lead to a second answer.

        What is still unsent is given `abortTimeout`: a client that does not read must not hold the connection.
        """
        if not self.closed:
            self.closed = True
            self.last_moment.set(self.abortTimeout)
            HTTPChannel.loseConnection(self)

    def abort(self) -> None:
        """End the connection whatever is in flight."""
        ITCPTransport(self.transport).abortConnection()

    def timeoutConnection(self) -> None:
        """An idle connection is closed, as thousands are each hour: no line in the log."""
        self.close()


class Channel(StrictChannel):
    """One connection, with a time for each request's head, and a size and a time for its body."""

    _draining = False
    _discarding = False
    _discarded = 0
    _request_line = b""

    def connectionMade(self) -> None:
        self.deadline = Deadline(self.site.reactor, self._too_slow)
        StrictChannel.connectionMade(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.deadline.clear()
        StrictChannel.connectionLost(self, reason)
        self.site.forget(self)

    def dataReceived(self, data: bytes) -> None:
        if not self.closed and not self.deadline.is_set and not self.requests:
            self.deadline.set(HEAD_TIME)
        StrictChannel.dataReceived(self, data)

    def lineReceived(self, line: bytes) -> None:
        begun = len(self.requests)
        HTTPChannel.lineReceived(self, line)
        if len(self.requests) > begun:
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
        """Called when the answer is written.

        A client that is still sending its body reads the answer only if we go on receiving.
        """
        if not self._discarding:
            self.close()

    def close(self) -> None:
        self.deadline.clear()
        StrictChannel.close(self)

    def finish_up(self) -> None:
        """Close now if nothing is in flight, else when the answer is written."""
        self._draining = True
        self.persistent = False
        if not self.requests:
            self.close()

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

    def _answer_early(self) -> None:
        """Answer before the body has come, throw away what comes of it within the bounds, and close."""
        self._discarding = True
        self._make_last()
        self.requests[-1].requestReceived(*self._request_line.split(b" "))

    def _make_last(self) -> None:
        """The request that is being read is this connection's last."""
        self.persistent = False
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _too_slow(self) -> None:
        if self.requests and not self._discarding and self.requests[-1].content is not None:
            self._answer_early()
        self.close()


@implementer(IHandshakeListener)
class SecureChannel(Channel):
    """One connection over TLS. Its handshake has a time as well: until it ends, nothing else would run out."""

    def connectionMade(self) -> None:
        Channel.connectionMade(self)
        self.deadline.set(HANDSHAKE_TIME)

    def handshakeCompleted(self) -> None:
        """Part of IHandshakeListener."""
        self.deadline.clear()


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


class BoundedRequest(Request):
    """A request whose every target is the resource's to judge: Twisted would answer `*` by itself."""

    channel: Channel
    site: "BoundedSite"
    client_software: Client | None = None
    decision = UNDECIDED
    begun = 0.0

    def process(self) -> None:
        self.site = self.channel.site
        self.begun = self.site.reactor.seconds()
        self.responseHeaders.setRawHeaders(b"Date", [http.datetimeToString()])
        try:
            Request.render(self, self.site.resource)
        except Exception:
            Request.processingFailed(self, Failure())

    def answered(self) -> Answered:
        """This request, once its answer has been written."""
        return Answered(
            _address(self),
            self.method.decode("latin-1"),
            _shown(self.uri),
            self.client_software or identify((self.getHeader(b"User-Agent") or b"").decode("latin-1")),
            self.decision,
            self.code,
            self.sentLength,
            self.site.reactor.seconds() - self.begun,
        )


class BoundedSite(Site):
    """A web site with `Channel`'s bounds, and an end that waits for what is in flight.

    Every `subscriber` is called with every request whose answer has been written.
    """

    noisy = False
    requestFactory = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted says its own wrapper, which adds HTTP/2; any HTTPChannel works
    _log = Logger()

    def __init__(self, resource: IResource, reactor: IReactorTime, subscribers: Sequence[Subscriber] = ()) -> None:
        Site.__init__(self, resource, timeout=IDLE_TIME, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[Channel] = set()
        self._subscribers = tuple(subscribers)
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
        if not self._subscribers or not isinstance(request, BoundedRequest):
            return
        answered = request.answered()
        for subscriber in self._subscribers:
            try:
                subscriber(answered)
            except Exception:
                self._log.failure("an answered request was not taken note of")

    def forget(self, channel: Channel) -> None:
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


def note(request: Request, client: Client, decision: Decision) -> None:
    """Note who has sent a request and what was decided about it, for those who subscribe to answered requests."""
    if isinstance(request, BoundedRequest):
        request.client_software, request.decision = client, decision


def _address(request: Request) -> str:
    return getattr(request.getClientAddress(), "host", None) or "-"  # a Unix socket's has none


def _shown(target: bytes) -> str:
    """A request-target without its query, where tokens may travel, in printable ASCII."""
    path = target.partition(b"?")[0][:TARGET_LENGTH].decode("latin-1")
    return _STRANGE.sub("?", path)
