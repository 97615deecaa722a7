"""Relays a response body from a backend to a client, at the speed of the client."""

from collections.abc import Mapping

from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.server import Request

from facaded.net.client import StreamedResponse
from facaded.web.responses import write_head
from facaded.web.server import BoundedSite

STALL_TIME = 60.0
"""Seconds without a byte from the backend, or to the client, after which a relay is aborted."""


def relay(request: Request, status: int, headers: Mapping[str, str], streamed: StreamedResponse) -> None:
    """Write an answer with the body of `streamed`.

    If the body breaks off, the client's connection is aborted: HTTP has no other way to signal that to the client.
    """
    write_head(request, status, headers)
    body = _RelayedBody(request)
    request.notifyFinish().addErrback(lambda _: body.abandon())
    streamed.response.deliverBody(body)


class _RelayedBody(Protocol):
    """Writes the backend's body to the client. The client's transport pauses the backend's when its buffer is full."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ended = False
        self._stall_timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._request.registerProducer(IPushProducer(self.transport), True)
        self._restart_stall_timer()

    def dataReceived(self, data: bytes) -> None:
        if not self._ended:
            self._restart_stall_timer()
            self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._ended:
            return
        self._end()
        if reason.check(ResponseDone, PotentialDataLoss):
            self._request.unregisterProducer()
            self._request.finish()
        else:
            ITCPTransport(self._request.transport).abortConnection()

    def abandon(self) -> None:
        """Stop reading from the backend, because the client has disconnected."""
        if not self._ended:
            self._end()
            IPushProducer(self.transport).stopProducing()

    def _end(self) -> None:
        self._ended = True
        if self._stall_timer is not None and self._stall_timer.active():
            self._stall_timer.cancel()

    def _restart_stall_timer(self) -> None:
        if self._stall_timer is not None and self._stall_timer.active():
            self._stall_timer.cancel()
        site = self._request.site
        assert isinstance(site, BoundedSite)
        self._stall_timer = site.reactor.callLater(STALL_TIME, self._abort)

    def _abort(self) -> None:
        self.abandon()
        ITCPTransport(self._request.transport).abortConnection()
