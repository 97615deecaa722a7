"""The web site: it passes requests to a resource, tells its subscribers of answers, and closes without losing any.

It stands on `twisted.web.http` alone: `twisted.web.server` adds paths of resources, sessions and HTML, and imports
`twisted.spread` and an XML parser: 1.6 MiB in each process.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger
from twisted.web.http import HTTPChannel, HTTPFactory, Request, datetimeToString
from twisted.web.resource import IResource

from facaded.backends.reached_limits import ReachedLimits
from facaded.oci.clients import Client, identify
from facaded.policy.sources import NO_ADDRESS
from facaded.web.admission import Admission, AdmissionSettings
from facaded.web.answered_requests import (
    AGENT_LENGTH,
    HOST_LENGTH,
    METHOD_LENGTH,
    UNDECIDED,
    AnsweredRequest,
    Decision,
    LoggedRequest,
    Subscriber,
    printable_path,
    quotable,
)
from facaded.web.begun_answers import AnswersHeads, BegunAnswer
from facaded.web.channel import Channel, SecureChannel
from facaded.web.client_address import client_address, host_of
from facaded.web.direct_answers import DirectAnswers
from facaded.web.refusals import too_many_requests
from facaded.web.request_head import HeaderFields, Origin, RequestHead
from facaded.web.request_ids import number_requests
from facaded.web.strict_channel import PARAMETERS
from facaded.web.unsent_bytes import UnsentBytes

NOT_DONE_YET = 1
"""What a resource's `render` returns if it writes the answer itself: `twisted.web.server.NOT_DONE_YET`."""

PROCESSING_FAILED = b"internal error in facaded: see its log\n"


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
    """A request that is passed to the site's resource, whatever its target; its body is discarded."""

    channel: Channel
    site: "BoundedSite"
    identified_client: Client | None = None
    decision = UNDECIDED
    started_at = 0.0
    request_id = ""
    _log = Logger()

    def __init__(self, channel: HTTPChannel, _: object = None) -> None:
        Request.__init__(self, channel, parsePOSTFormSubmission=False)

    @cached_property
    def address(self) -> str:
        """The client's address, or "-" if it has none: see `client_address`."""
        trusted = self.channel.site.admission.settings.trusted_proxies
        lines = (_header_lines(self, name) for name in (b"X-Forwarded-For", b"Forwarded")) if trusted else ((), ())
        return client_address(self.channel.address, trusted, *lines)

    def gotLength(self, length: int | None) -> None:
        """Discard the body: Twisted would keep it, and write a large one to disk."""
        self.content = _DiscardedBody()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer the request, or refuse it cheaply if its client has sent too many or its query has.

        Twisted parses the query first, and takes some 3 µs for each parameter.
        """
        self.channel.begin_answer()
        if path.count(b"&") + path.count(b";") > PARAMETERS:
            self.channel.refuse()
        elif self.channel.passed_on or self.channel.site.admission.admits_request(self.address):
            Request.requestReceived(self, command, path, version)
        else:
            refusal = too_many_requests(command == b"HEAD", not self.channel.persistent)
            self.channel.refuse_request(self, refusal, self.address)

    def process(self) -> None:
        site = self.channel.site
        assert isinstance(site, BoundedSite)
        self.site = site
        self.started_at = site.reactor.seconds()
        self.request_id = next(site.request_ids)
        self.responseHeaders.setRawHeaders(b"Date", [datetimeToString()])
        self.responseHeaders.setRawHeaders(b"X-Request-Id", [self.request_id.encode("ascii")])
        try:
            body: Any = site.resource.render(self)
        except Exception:
            self._log.failure("internal error while answering a request")
            self.setResponseCode(500)
            self.responseHeaders.setRawHeaders(b"Content-Type", [b"text/plain; charset=utf-8"])
            body = PROCESSING_FAILED
        if body != NOT_DONE_YET:
            self._answer_with(body)

    def _answer_with(self, body: bytes) -> None:
        """Write a whole answer, whose status and other headers are there."""
        self.responseHeaders.setRawHeaders(b"Content-Length", [str(len(body)).encode("ascii")])
        Request.write(self, body)
        Request.finish(self)

    def as_answered(self) -> AnsweredRequest:
        """Return this request as a value for subscribers, after its answer has been written."""
        user_agent = _header_text(self, b"User-Agent")
        return AnsweredRequest(
            self.address,
            _shown(self.method, METHOD_LENGTH),
            printable_path(self.uri),
            self.identified_client or identify(user_agent),
            self.decision,
            self.code,
            self.sentLength,
            self.site.reactor.seconds() - self.started_at,
            time.time(),
            self.request_id,
            LoggedRequest(
                quotable(_header_text(self, b"Host"), HOST_LENGTH),
                quotable(user_agent, AGENT_LENGTH),
                _shown(self.clientproto, METHOD_LENGTH),
            ),
        )


class BoundedSite(HTTPFactory):
    """A web site with the limits of `Channel`, and a shutdown that waits for requests in progress.

    Each of `subscribers` is called with each request whose answer has been written. `admission` has the limits, which
    sites may share; the default ones without it. `unsent` limits what is kept for clients that read slowly; without it,
    answers are written whole. `request_ids` are those of its requests. While `is_stopping`, each answer is the last of
    its connection. `relayed_bytes` are those of blobs that passed through.
    """

    noisy = False
    relayed_bytes = 0
    is_stopping = False
    requestFactory: type[BoundedRequest] = BoundedRequest
    protocol = Channel  # type: ignore[assignment]  # Twisted names its wrapper for HTTP/2, but any HTTPChannel works
    _log = Logger()

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
        subscribers: Sequence[Subscriber] = (),
        admission: Admission | None = None,
        unsent: UnsentBytes | None = None,
        request_ids: Iterator[str] | None = None,
    ) -> None:
        HTTPFactory.__init__(self, reactor=reactor)
        self.resource = resource
        self.admission = admission or Admission(reactor, ReachedLimits(reactor), AdmissionSettings())
        self.channels: set[Channel] = set()
        self.unsent = unsent
        self.request_ids = request_ids or number_requests()
        self.direct: DirectAnswers | None = None
        if isinstance(resource, AnswersHeads):
            self.direct = DirectAnswers(resource, self.admission, reactor, self.tell, self.request_ids)
        self._subscribers = tuple(subscribers)
        self._drained: Deferred[None] | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the channel of a new connection, or None, which closes it at once."""
        address = host_of(addr)
        if not self.admission.admits(address):
            return None
        self.timeOut = self.admission.limits.idle_time
        channel: Any = HTTPFactory.buildProtocol(self, addr)
        channel.requestFactory, channel.site, channel.address = self.requestFactory, self, address
        return channel

    def startFactory(self) -> None:
        """Do nothing: Twisted would open a log file, and update its date each second."""

    def stopFactory(self) -> None:
        """Do nothing: see `startFactory`."""

    def log(self, request: Request) -> None:
        """Call the subscribers. Twisted calls this when an answer has been written."""
        if self._subscribers and isinstance(request, BoundedRequest):
            self.tell(request.as_answered())

    def tell(self, answered: AnsweredRequest) -> None:
        """Call the subscribers with a request whose answer has been written."""
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


def head_of(request: Request) -> RequestHead:
    """Return the head of a request."""
    fields = HeaderFields.read(lambda name: request.requestHeaders.getRawHeaders(name.encode("ascii"), []))
    return RequestHead(request.method, request.uri, fields, _header_text(request, b"Authorization"))


def origin_of(request: Request) -> Origin:
    """Return where a request comes from."""
    return Origin(address_of(request), bool(request.isSecure()))


def take_begun(request: Request) -> BegunAnswer | None:
    """Return what has begun of a request's answer before it was passed on, once; None if nothing has."""
    return request.channel.take_begun() if isinstance(request, BoundedRequest) else None


def record_decision(request: Request, client: Client, decision: Decision) -> None:
    """Record a request's client and what was decided about it, for the subscribers of answered requests."""
    if isinstance(request, BoundedRequest):
        request.identified_client, request.decision = client, decision


def address_of(request: Request) -> str:
    """Return the address of a request's client; see `BoundedRequest.address`."""
    return request.address if isinstance(request, BoundedRequest) else NO_ADDRESS


def _shown(value: bytes, length: int) -> str:
    """Return a word of the request line as the log shows it."""
    return quotable(value.decode("latin-1"), length).replace(" ", "?")


def _header_text(request: Request, name: bytes) -> str:
    return (request.getHeader(name) or b"").decode("latin-1")


def _header_lines(request: Request, name: bytes) -> list[str]:
    return [line.decode("latin-1") for line in request.requestHeaders.getRawHeaders(name, [])]
