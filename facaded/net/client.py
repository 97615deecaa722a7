"""A bounded HTTP client: it limits the size of every response, follows no redirects and sends no cookies.

The caller limits the time of a request by cancelling it, which closes the connection at any stage, also while the body
is read. treq and Twisted's client are imported by the first request: see `late_client`.
"""

import email.utils
import errno
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import SSL
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
"""Longest Retry-After in seconds (a day): a longer one is shortened to this."""

DATE_LENGTH = 40
"""Characters of a date header that are read: the longest valid date has 33."""

SMALL_PIECE = 64
"""Bytes: servers send a body in larger chunks, but for the last one."""

MOST_SMALL_PIECES = 1000
"""Pieces of a body that may be smaller: Twisted takes 10 µs for each, 40 s for a manifest in chunks of one byte."""

_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")

REDIRECTS = (301, 302, 303, 307, 308)

ONE_BYTE = {"Range": "bytes=0-0"}
"""The header of a request for the first byte of a blob."""

LOCAL_ERRORS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.ENETUNREACH}
)
"""Error numbers of this machine: it has no descriptors, memory, ports or route.

EHOSTUNREACH is not one, because a router may send it for a server that is gone.
"""

_REASONS = (
    (ConnectionRefusedError, "connection refused"),
    (DNSLookupError, "the name does not resolve"),
    (NoRouteError, "no route to host"),
    (TCPTimedOutError, "timeout"),
    (TimeoutError, "timeout"),
    (defer.TimeoutError, "timeout"),
    (CancelledError, "timeout"),
    (ConnectError, "connection failed"),
    (ConnectionDone, "connection closed without a response"),
    (ConnectionLost, "connection reset"),
)


class TooLargeError(Exception):
    """A response body is longer than the limit of its reader, or comes in too many pieces."""


class LocationError(Exception):
    """A redirect has a Location that facaded neither follows nor passes on. The text says why."""


@frozen
class ResponseHead:
    """Status and headers of a response."""

    status: int
    headers: Headers

    def values(self, name: str) -> tuple[str, ...]:
        """Return all values of a header, as text."""
        return tuple(value.decode("latin-1") for value in self.headers.getRawHeaders(name.encode("ascii"), []))

    def value(self, name: str) -> str:
        """Return the first value of a header, or an empty string."""
        return next(iter(self.values(name)), "")

    def retry_after(self, wall: Callable[[], float] = time.time) -> float:
        """Return the seconds of the Retry-After header (RFC 9110 §10.2.3), at most a day. Never raises.

        Returns 0 if there is none, if it cannot be read, or if it is in the past. A date is relative to the response's
        own Date, whose clock it was made by; without one, to `wall`, which returns seconds since the epoch.
        """
        value = self.value("Retry-After").strip()
        if _DECIMAL.fullmatch(value):
            return min(float(value), LONGEST_RETRY_AFTER)
        until, sent_at = _seconds_since_epoch(value), _seconds_since_epoch(self.value("Date"))
        if until is None:
            return 0.0
        return min(max(until - (wall() if sent_at is None else sent_at), 0.0), LONGEST_RETRY_AFTER)


@frozen
class Response(ResponseHead):
    """A response with its complete body."""

    body: bytes


@frozen
class StreamedResponse(ResponseHead):
    """A response whose body has not been read. Call either `read` or `abandon`, once."""

    response: IResponse

    @property
    def length(self) -> int | None:
        """The body's length in bytes, or None if it is unknown.

        Twisted removes Content-Length from the headers of the response to a GET.
        """
        header = whole_number(self.value("Content-Length"))
        parsed = self.response.length
        return header if header is not None else (parsed if isinstance(parsed, int) else None)

    async def read(self, limit: int) -> bytes:
        """Read the body, at most `limit` bytes.

        Raises TooLargeError, or what Twisted raises when the connection breaks.
        """
        body = _BodyReader(limit)
        self.response.deliverBody(body)
        return await body.complete

    def abandon(self) -> None:
        """Close the connection without reading the body."""
        self.response.deliverBody(_AbandonedBody())


class BoundedClient:
    """A client of the server at `url` (scheme, host and port), which sends its requests through `agent`.

    `boundary` limits the addresses that the server may refer to; without one there is no limit. `note_local_error` is
    called with a description of each error that is this machine's. `fresh_agent` opens a connection for each request.
    """

    def __init__(
        self,
        url: str,
        agent: IAgent,
        boundary: Boundary | None = None,
        note_local_error: Callable[[str], None] | None = None,
        fresh_agent: IAgent | None = None,
    ) -> None:
        self.url = url
        self._note_local_error = note_local_error
        self._fresh_agent = fresh_agent or agent
        self._agent = _Verbatim(agent)
        self._boundary = boundary

    def on_new_connections(self) -> "BoundedClient":
        """Return a client of the same server, with the same limits, whose requests do not reuse connections."""
        return BoundedClient(self.url, self._fresh_agent, self._boundary, self._note_local_error)

    async def check_target(self, url: str) -> None:
        """Raise PrivateAddressError if this server must not redirect a client to `url`."""
        if self._boundary is not None:
            await self._boundary.check_name(urlsplit(url).hostname or "")

    def location(self, base: str, location: str) -> str:
        """Return the Location of a response from `base`, made absolute and otherwise unchanged.

        It must be https if the server is. Raises LocationError if it is not safe to use; see `urls.check`.
        """
        try:
            return resolve(base, location, secure=self.url.startswith("https:"))
        except UrlError as error:
            raise LocationError(f"redirects a blob to {error}") from None

    def is_own(self, url: str) -> bool:
        """Return whether `url` is on this server's own host and port, and so needs a token."""
        return origin(url) == origin(self.url)

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> StreamedResponse:
        """Send one request to `url` and return its response with an unread body.

        Raises what Twisted raises when there is no connection or no response; see `describe_error`.
        """
        from treq.client import HTTPClient

        client = HTTPClient(self._agent)
        sent = Headers({name: [value] for name, value in {"User-Agent": USER_AGENT, **headers}.items()})
        data = _RequestBody(body) if body else None
        try:
            response = await client.request(
                method, url, headers=sent, data=data, allow_redirects=False, unbuffered=True
            )
        except Exception as error:
            if self._note_local_error is not None and is_local_error(error):
                self._note_local_error(describe_error(error))
            raise
        return StreamedResponse(response.code, response.headers, response)

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str], limit: int, body: bytes = b""
    ) -> Response:
        """Send one request and read its response, at most `limit` bytes of body.

        Raises as `open` and `StreamedResponse.read` do.
        """
        opened = await self.open(method, url, headers, body)
        return Response(opened.status, opened.headers, await opened.read(limit))


def _seconds_since_epoch(date: str) -> float | None:
    """Return the time that a date header names, in any of the three forms of RFC 9110 §5.6.7; None if it names none."""
    try:
        parsed = email.utils.parsedate_tz(date[:DATE_LENGTH])
        return None if parsed is None else float(email.utils.mktime_tz(parsed))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def describe_error(error: BaseException) -> str:
    """Describe a failed request in a few words, without secrets, line breaks or control characters."""
    from twisted.web.client import ResponseFailed

    if isinstance(error, ResponseFailed) and error.reasons:
        cause = error.reasons[0].value
        is_known = isinstance(cause, (*(kind for kind, _ in _REASONS), SSL.Error, OSError, ResponseFailed))
        return describe_error(cause) if is_known else "malformed response"  # Twisted's parser quotes it
    if (number := _error_number(error)) in LOCAL_ERRORS:
        return os.strerror(number).lower()
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text
    if isinstance(error, SSL.Error):
        return f"TLS: {_describe_tls_error(error)}"
    return printable(str(error) or type(error).__name__)


def is_local_error(error: BaseException) -> bool:
    """Return whether a request failed because of this machine, so that it says nothing of the server.

    See `LOCAL_ERRORS` for the causes.
    """
    return _error_number(error) in LOCAL_ERRORS or any(
        reason.value is not None and is_local_error(reason.value) for reason in causes(error)
    )


def causes(error: BaseException) -> Sequence[Failure]:
    """Return the failures that a failed request was caused by, as far as Twisted's client knows them."""
    from twisted.web.client import RequestTransmissionFailed, ResponseFailed

    return error.reasons if isinstance(error, ResponseFailed | RequestTransmissionFailed) else ()


def is_complete(reason: Failure) -> bool:
    """Return whether a response's body has ended, as far as its server lets one know."""
    from twisted.web.client import ResponseDone

    return reason.check(ResponseDone, PotentialDataLoss) is not None


def is_lack_of_descriptors(reason: str) -> bool:
    """Return whether a failed request, by its description, found no free file descriptor."""
    return any(os.strerror(number).lower() in reason for number in (errno.EMFILE, errno.ENFILE))


def _error_number(error: BaseException) -> int:
    """Return the errno of an error of the system, or of Twisted's for it; 0 if there is none."""
    number = error.errno if isinstance(error, OSError) else getattr(error, "osError", None)
    candidates = (number, *error.args[:1]) if isinstance(error, OSError | ConnectError) else ()
    return next((candidate for candidate in candidates if isinstance(candidate, int)), 0)


def _describe_tls_error(error: BaseException) -> str:
    entries = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return printable(", ".join(str(entry[-1]) for entry in entries) or type(error).__name__)


@implementer(IAgent)
class _Verbatim:
    """An agent that delivers bodies as they were sent, without cookies.

    treq would decompress them, up to a thousand times their size on the wire, and spend 0.1 s on a long cookie.
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
        return self._agent.request(method, uri, plain, bodyProducer).addCallback(self._strip)

    @staticmethod
    def _strip(response: IResponse) -> IResponse:
        response.headers.removeHeader(b"Content-Encoding")
        response.headers.removeHeader(b"Set-Cookie")
        return response


@implementer(IBodyProducer)
class _RequestBody:
    """A short request body. Twisted's own producer needs a cooperator, and so the global reactor."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """Nothing to do: the body is written at once."""

    def resumeProducing(self) -> None:
        """Nothing to do: the body is written at once."""

    def stopProducing(self) -> None:
        """Nothing to do: the body is written at once."""


class _BodyReader(Protocol):
    """Collects a response body up to a limit in bytes. Cancelling `complete` closes the connection."""

    def __init__(self, limit: int) -> None:
        self.complete: Deferred[bytes] = Deferred(lambda _: self._close())
        self._limit = limit
        self._body = bytearray()
        self._pieces = 0

    def dataReceived(self, data: bytes) -> None:
        if self.complete.called:
            return
        self._pieces += 1
        self._body += data
        if len(self._body) > self._limit:
            self._refuse(f"response body exceeds {self._limit} bytes")
        elif self._pieces > MOST_SMALL_PIECES + len(self._body) // SMALL_PIECE:
            self._refuse(f"response body comes in pieces of under {SMALL_PIECE} bytes")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.complete.called:
            return
        if is_complete(reason):
            self.complete.callback(bytes(self._body))
        else:
            self.complete.errback(reason)

    def _refuse(self, reason: str) -> None:
        self._body.clear()
        self._close()
        self.complete.errback(TooLargeError(reason))

    def _close(self) -> None:
        """Close the TCP connection too: a peer that hangs would not complete the TLS shutdown."""
        if self.transport is not None:
            IPushProducer(self.transport).stopProducing()


class _AbandonedBody(Protocol):
    """Closes the connection without reading the body."""

    def makeConnection(self, transport: ITransport) -> None:
        IPushProducer(transport).stopProducing()
