"""A body handed on from a backend to a client as it comes, no faster than the client takes it."""

from collections.abc import Mapping

from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.server import Request

from facaded.net.client import StreamedResponse
from facaded.web.server import BoundedSite, head

STALL_TIME = 60.0
"""Seconds without a byte, from a backend or to a client, after which a relay is given up."""


def relay(request: Request, status: int, headers: Mapping[str, str], opened: StreamedResponse) -> None:
    """Write an answer whose body is `opened`'s.

    A body that breaks off ends the client's connection: it is told no other way.
    """
    head(request, status, headers)
    relaying = _Relay(request)
    request.notifyFinish().addErrback(lambda _: relaying.abandon())
    opened.response.deliverBody(relaying)


class _Relay(Protocol):
    """Reads the backend's body and writes the client's. The client's transport pauses the backend's when it is full."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ended = False
        self._stall: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._request.registerProducer(IPushProducer(self.transport), True)
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        if not self._ended:
            self._watch()
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
        """The client has gone away."""
        if not self._ended:
            self._end()
            IPushProducer(self.transport).stopProducing()

    def _end(self) -> None:
        self._ended = True
        if self._stall is not None and self._stall.active():
            self._stall.cancel()

    def _watch(self) -> None:
        if self._stall is not None and self._stall.active():
            self._stall.cancel()
        site = self._request.site
        assert isinstance(site, BoundedSite)
        self._stall = site.reactor.callLater(STALL_TIME, self._give_up)

    def _give_up(self) -> None:
        self.abandon()
        ITCPTransport(self._request.transport).abortConnection()
