"""The web site: it passes requests to a resource, tells its subscribers of answers, and closes without losing any."""

import re
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import IResource
from twisted.web.server import Request, Site

from facaded.oci.clients import Client, identify
from facaded.web.answered_requests import UNDECIDED, AnsweredRequest, Decision, Subscriber, parse_first_byte
from facaded.web.channel import IDLE_TIME, Channel, SecureChannel
from facaded.web.unsent_bytes import UnsentBytes

CONNECTIONS = 10_000
"""Concurrent connections per listener, of about 10 KiB each; further ones are closed at once."""

TARGET_LENGTH = 400
"""Characters of a request-target that subscribers see: the longest valid path is shorter."""

_NOT_PRINTABLE = re.compile(r"[^!-~]")


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
        site = self.channel.site
        assert isinstance(site, BoundedSite)
        self.site = site
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

    Each of `subscribers` is called with each request whose answer has been written. `unsent` limits what is kept for
    clients that read slowly; without it, answers are written whole. While `is_stopping`, each answer is the last of its
    connection.
    """

    noisy = False
    is_stopping = False
    requestFactory = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted names its wrapper for HTTP/2, but any HTTPChannel works
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        subscribers: Sequence[Subscriber] = (),
        unsent: UnsentBytes | None = None,
    ) -> None:
        Site.__init__(self, resource, timeout=IDLE_TIME, reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[Channel] = set()
        self.unsent = unsent
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
