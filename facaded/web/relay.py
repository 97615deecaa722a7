"""Relays a response body from a backend to a client, at the speed of the client."""

from collections.abc import Mapping

from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import Request
from zope.interface import implementer

from facaded.net.client import StreamedResponse, is_complete
from facaded.web.deadline import Deadline
from facaded.web.responses import respond_unread, write_head
from facaded.web.server import BoundedRequest, BoundedSite, address_of
from facaded.web.slow_readers import BUFFER_SIZE

STALL_TIME = 60.0
"""Seconds without a byte from a backend, while the client waits for one, after which a relay is aborted. A client that
takes nothing is disconnected by its connection: see `StallTimer`."""

BUFFERED = BUFFER_SIZE + (64 << 10)
"""Bytes that a relay keeps for a client that does not read: the transport's buffer, and the bytes that Twisted reads
from a backend at once."""


def relay(request: Request, status: int, headers: Mapping[str, str], streamed: StreamedResponse) -> None:
    """Write an answer with the body of `streamed`; 503 instead if there is no memory for it.

    If the body breaks off, the client's connection is aborted: HTTP has no other way to signal that to the client.
    """
    assert isinstance(request, BoundedRequest)
    site = request.site
    if site.unsent is not None:
        abort = ITCPTransport(request.transport).abortConnection
        release = site.unsent.admit(b"", BUFFERED, address_of(request), abort)
        if release is None:
            streamed.abandon()
            respond_unread(request)
            return
        request.notifyFinish().addBoth(lambda _: release())
    write_head(request, status, headers)
    body = _RelayedBody(request, site)
    request.notifyFinish().addErrback(lambda _: body.stopProducing())
    streamed.response.deliverBody(body)


@implementer(IPushProducer)
class _RelayedBody(Protocol):
    """Writes the backend's body to the client. The client's transport pauses the backend's when its buffer is full."""

    def __init__(self, request: Request, site: BoundedSite) -> None:
        self._request = request
        self._site = site
        self._ended = False
        self._paused = False
        self._stall = Deadline(site.reactor, self._abort)

    def connectionMade(self) -> None:
        self._request.registerProducer(self, True)
        self._stall.set(STALL_TIME)

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        if not self._paused:
            self._stall.set(STALL_TIME)
        self._site.relayed_bytes += len(data)
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ended:
            return
        self._end()
        if is_complete(reason):
            self._request.unregisterProducer()
            self._request.finish()
        else:
            ITCPTransport(self._request.transport).abortConnection()

    def pauseProducing(self) -> None:
        """Do not read from the backend, because the client's transport is full; part of IPushProducer."""
        if not self._ended:
            self._paused = True
            self._stall.clear()
            IPushProducer(self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """Read from the backend again; part of IPushProducer."""
        if not self._ended:
            self._paused = False
            self._stall.set(STALL_TIME)
            IPushProducer(self.transport).resumeProducing()

    def stopProducing(self) -> None:
        """Stop reading from the backend, because the client has disconnected; part of IPushProducer."""
        if not self._ended:
            self._end()
            IPushProducer(self.transport).stopProducing()

    def _end(self) -> None:
        self._ended = True
        self._stall.clear()

    def _abort(self) -> None:
        self.stopProducing()
        ITCPTransport(self._request.transport).abortConnection()
