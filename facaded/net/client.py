"""A bounded HTTP client: every answer is bounded in size, no redirect followed, nothing sent that was not asked for.

The time a request takes is bounded by whoever makes it, by cancelling: that closes the connection at any stage, the
body's included.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from facaded import __version__
from facaded.net.private_addresses import Boundary
from facaded.net.text import printable, whole_number
from facaded.net.urls import UrlError, origin, resolve

USER_AGENT = f"facaded/{__version__}"

LONGEST_RETRY_AFTER = 86400.0
"""Seconds of a Retry-After that are believed to be meant: a day."""

REDIRECTS = (301, 302, 303, 307, 308)

_REASONS = (
    (ConnectionRefusedError, "connection refused"),
    (DNSLookupError, "the name does not resolve"),
    (NoRouteError, "no route to the host"),
    (TCPTimedOutError, "time-out"),
    (TimeoutError, "time-out"),
    (defer.TimeoutError, "time-out"),
    (CancelledError, "time-out"),
    (ConnectError, "no connection"),
    (ConnectionDone, "connection closed without an answer"),
    (ConnectionLost, "connection reset"),
)


class TooLargeError(Exception):
    """A body was longer than the limit that was asked for."""


class LocationError(Exception):
    """A redirect leads nowhere that anybody may be sent to. The text says why."""


@frozen
class ResponseHead:
    """Status and headers of a response."""

    status: int
    headers: Headers

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a header, as text."""
        return tuple(value.decode("latin-1") for value in self.headers.getRawHeaders(name.encode("ascii"), []))

    def value(self, name: str) -> str:
        """The first value of a header, or an empty string."""
        return next(iter(self.values(name)), "")

    def retry_after(self) -> float:
        """Seconds of a Retry-After, a day at most; 0 if there is none, or a date, which registries do not send."""
        return min(float(whole_number(self.value("Retry-After")) or 0), LONGEST_RETRY_AFTER)


@frozen
class Response(ResponseHead):
    """A response whose body is complete and within the limit."""

    body: bytes


@frozen
class StreamedResponse(ResponseHead):
    """A response whose body has not been read. It is read, or the response abandoned: one of the two, once."""

    response: IResponse

    @property
    def length(self) -> int | None:
        """The body's length in bytes, if it is known.

        Twisted takes Content-Length out of the headers of a GET's answer.
        """
        said = whole_number(self.value("Content-Length"))
        known = self.response.length
        return said if said is not None else (known if isinstance(known, int) else None)

    async def read(self, limit: int) -> bytes:
        """The body, `limit` bytes at most. Raises TooLargeError, or what Twisted raises when the connection breaks."""
        body = _Body(limit)
        self.response.deliverBody(body)
        return await body.complete

    def abandon(self) -> None:
        """Close the connection without reading the body."""
        self.response.deliverBody(_Abandoned())


class BoundedClient:
    """Asks the server at `url` (scheme, host and port) through `agent`.

    `boundary` is what that server may lead to; without one, it may lead anywhere.
    """

    def __init__(self, url: str, agent: IAgent, boundary: Boundary | None = None) -> None:
        self.url = url
        self._agent = _Verbatim(agent)
        self._boundary = boundary

    async def check_target(self, url: str) -> None:
        """A client is about to be sent to `url`. Raises PrivateAddressError if this server must not send it there."""
        if self._boundary is not None:
            await self._boundary.check_name(urlsplit(url).hostname or "")

    def location(self, base: str, location: str) -> str:
        """A Location made absolute from `base`, where this server sent it, and otherwise unchanged.

        It is https if the server is. Raises LocationError if no client should be sent there; see `urls.check`.
        """
        try:
            return resolve(base, location, secure=self.url.startswith("https:"))
        except UrlError as error:
            raise LocationError(f"redirects a blob to {error}") from None

    def is_own(self, url: str) -> bool:
        """Whether `url` is on this server's own host and port, and so needs a token."""
        return origin(url) == origin(self.url)

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> StreamedResponse:
        """Send one request to `url`, with a body if there is one.

        Raises what Twisted raises when there is no connection or no answer; `reason` puts it into words.
        """
        client = HTTPClient(self._agent)  # a new one each time: it would keep cookies
        sent = Headers({name: [value] for name, value in {"User-Agent": USER_AGENT, **headers}.items()})
        data = _Sent(body) if body else None
        response = await client.request(method, url, headers=sent, data=data, allow_redirects=False, unbuffered=True)
        return StreamedResponse(response.code, response.headers, response)

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], limit: int, body: bytes = b""
    ) -> Response:
        """Send one request and read its answer. Raises as `open` and `StreamedResponse.read` do."""
        opened = await self.open(method, url, headers, body)
        return Response(opened.status, opened.headers, await opened.read(limit))


def reason(error: BaseException) -> str:
    """What went wrong between here and a server, in a few words without secrets, line breaks or control characters."""
    if isinstance(error, ResponseFailed) and error.reasons:
        return reason(error.reasons[0].value)
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, SSL.Error):
        return f"TLS: {_tls_reason(error)}"
    return printable(str(error) or type(error).__name__)


def _tls_reason(error: BaseException) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return printable(", ".join(str(reason[-1]) for reason in reasons) or type(error).__name__)


@implementer(IAgent)
class _Verbatim:
    """An agent that hands on bodies as they were sent.

    treq would inflate them, to a thousand times what came over the wire.
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        plain = headers.copy() if headers else Headers()
        plain.removeHeader(b"Accept-Encoding")
        return self._agent.request(method, uri, plain, bodyProducer).addCallback(self._without_encoding)

    @staticmethod
    def _without_encoding(response: IResponse) -> IResponse:
        response.headers.removeHeader(b"Content-Encoding")
        return response


@implementer(IBodyProducer)
class _Sent:
    """A short body of a request: Twisted's own producer would need a cooperator, and so the one reactor."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """All is written at once."""

    def resumeProducing(self) -> None:
        """All is written at once."""

    def stopProducing(self) -> None:
        """All is written at once."""


class _Body(Protocol):
    """Collects a body up to a limit. Cancelling `complete` closes the connection."""

    def __init__(self, limit: int) -> None:
        self.complete: Deferred[bytes] = Deferred(lambda _: self._close())
        self._limit = limit
        self._pieces: list[bytes] = []
        self._read = 0

    def dataReceived(self, data: bytes) -> None:
        self._read += len(data)
        if self._read <= self._limit:
            self._pieces.append(data)
        elif not self.complete.called:
            self._close()
            self.complete.errback(TooLargeError(f"a body of more than {self._limit} bytes"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.complete.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.complete.callback(b"".join(self._pieces))
        else:
            self.complete.errback(reason)

    def _close(self) -> None:
        """Close the connection beneath TLS too, without waiting for a peer that hangs to agree."""
        if self.transport is not None:
            IPushProducer(self.transport).stopProducing()


class _Abandoned(Protocol):
    """Takes no byte of a body."""

    def makeConnection(self, transport: ITransport) -> None:
        IPushProducer(transport).stopProducing()
