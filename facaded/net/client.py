"""One registry as a peer of HTTP:

every request bounded in size, no redirect followed, nothing sent that was not asked for.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from attrs import frozen
from OpenSSL import SSL, crypto
from treq.client import HTTPClient
from twisted.internet import defer, ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
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
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from facaded import __version__
from facaded.backends.inward import Checked, Reach, resolver
from facaded.policy.health import Quota

USER_AGENT = f"facaded/{__version__}"

ROOTS_SIZE = 1 << 20
"""Bytes read of a file of trust roots; the whole web's roots are a quarter of that."""

WORDS_LENGTH = 200
"""Characters of a backend's or a library's words that are kept for logs and status."""

HEAD_SIZE = 128 << 10
"""Bytes that may come before the head of an answer is complete:

a read of 64 KiB of which the body has begun, and as much again.
"""

KEPT_CONNECTIONS = 8
"""Connections to one host that are kept when they are idle: pulls come in bursts of a few requests."""

KEPT_TIME = 30
"""Seconds that an idle connection is kept: less than registries keep theirs."""

CONNECT_TIME = 2.0
"""Seconds for a connection to one address of a backend that is asked for what is served."""

ATTEMPT_DELAY = 0.1
"""Seconds between the starts of connections to a name's addresses: the least that RFC 8305 §8 recommends. Twisted
also waits this long after the
last address has refused, so that it is part of the time in which an outage is noticed."""

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")

_SHORT = (
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


LONGEST_WISH = 86400.0
"""Seconds of a Retry-After that are believed to be meant: a day."""

REDIRECTS = (301, 302, 303, 307, 308)

LOCATION_LENGTH = 8192
"""Characters of a Location that is gone by: signed addresses have some 2000."""


class TooLargeError(Exception):
    """A body was longer than the limit that was asked for."""


class LocationError(Exception):
    """A redirect leads nowhere that anybody may be sent to. The text says why."""


@frozen
class Head:
    """Status and headers of what a registry said."""

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
        return min(float(count(self.value("Retry-After")) or 0), LONGEST_WISH)

    def quota(self) -> Quota | None:
        """The pulls that are left, as Docker Hub says it: `ratelimit-remaining: 76;w=21600`. None if it does not."""
        remaining = _RATE.fullmatch(self.value("RateLimit-Remaining"))
        if not remaining:
            return None
        limit = _RATE.fullmatch(self.value("RateLimit-Limit"))
        return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))


@frozen
class Answer(Head):
    """What a registry said. The body is complete and within the limit."""

    body: bytes


@frozen
class Opened(Head):
    """What a registry has begun to say. The body is read, or the answer abandoned: one of the two, once."""

    response: IResponse

    @property
    def length(self) -> int | None:
        """The body's length in bytes, if it is known.

        Twisted takes Content-Length out of the headers of a GET's answer.
        """
        said = count(self.value("Content-Length"))
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


class Registry:
    """A registry at `url` (scheme, host and port), reached through `agent`.

    The time a request may take is bounded by its asker, by cancelling: that closes the connection at any stage, the
    body's included.
    """

    def __init__(self, url: str, agent: IAgent, reach: Reach | None = None) -> None:
        self.url = url
        self._agent = _Verbatim(agent)
        self._reach = reach

    async def check_name(self, host: str) -> None:
        """A client is about to be sent to `host`. Raises InwardError if this registry must not send it there."""
        if self._reach is not None:
            await self._reach.check_name(host)

    def location(self, base: str, location: str) -> str:
        """A Location made absolute from `base`, where this registry sent it, and otherwise unchanged.

        It is http or https, and https if the registry is, without user-info or control characters. Raises
        LocationError if it is not.
        """
        url = urljoin(base, location) if location else ""
        try:
            parts = urlsplit(url)
            lawful = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
            lawful = lawful and parts.port != 0 and len(url) <= LOCATION_LENGTH
        except ValueError:
            lawful = False
        if not lawful or not url.isascii() or not url.isprintable() or " " in url:
            raise LocationError("redirects a blob to what is no address")
        if parts.scheme == "http" and self.url.startswith("https:"):
            raise LocationError("redirects a blob to plain http")
        return url

    def is_own(self, url: str) -> bool:
        """Whether `url` is on this registry's own host and port, and so needs a token."""
        return _place(url) == _place(self.url)

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Opened:
        """Send one request to `url`, with a body if there is one.

        Raises what Twisted raises when there is no connection or no answer; `words` puts it into words.
        """
        client = HTTPClient(self._agent)  # a new one each time: it would keep cookies
        sent = Headers({name: [value] for name, value in {"User-Agent": USER_AGENT, **headers}.items()})
        data = _Sent(body) if body else None
        response = await client.request(method, url, headers=sent, data=data, allow_redirects=False, unbuffered=True)
        return Opened(response.code, response.headers, response)

    async def ask(self, method: str, url: str, *, headers: Mapping[str, str], limit: int, body: bytes = b"") -> Answer:
        """Send one request and read its answer. Raises as `open` and `Opened.read` do."""
        opened = await self.open(method, url, headers, body)
        return Answer(opened.status, opened.headers, await opened.read(limit))


def _registry(
    reactor: Any, url: str, ca_file: Path | None, connect_timeout: float, pool: HTTPConnectionPool
) -> Registry:
    """The registry at `url`, connected to within `connect_timeout` seconds an address.

    Raises as `trust_policy` does.
    """
    reach = Reach(urlsplit(url).hostname or "", resolver(reactor))
    endpoints = _Endpoints(reactor, trust_policy(ca_file), connect_timeout, reach)
    return Registry(url, Agent.usingEndpointFactory(reactor, endpoints, pool), reach)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How backends are connected to.

    As Twisted does it, with less time between the addresses of one name, and checked.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, connect_timeout: float, reach: Reach) -> None:
        self._reactor = reactor
        self._policy = policy
        self._connect_timeout = connect_timeout
        self._reach = reach

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, host, uri.port, timeout=self._connect_timeout, attemptDelay=ATTEMPT_DELAY
        )
        if uri.scheme != b"http":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Metered(Checked(endpoint, host, self._reach))


@implementer(IStreamClientEndpoint)
class _Metered:
    """An endpoint whose connections end when the head of an answer is too large:

    Twisted bounds each line, not their number.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._endpoint.connect(protocolFactory).addCallback(self._meter)

    @staticmethod
    def _meter(protocol: Any) -> Any:
        """Count what comes in between a request and the head of its answer.

        Both methods are public ones of the protocol that Agent connects; it has no hook of its own for this.
        """
        receive, request = protocol.dataReceived, protocol.request
        left: list[int] = []

        def counting(data: bytes) -> None:
            if left:
                left[0] -= len(data)
                if left[0] < 0:
                    ITCPTransport(protocol.transport).abortConnection()
                    return
            receive(data)

        def complete(outcome: IResponse | Failure) -> IResponse | Failure:
            left.clear()
            return outcome

        def requesting(asked: object) -> Deferred[IResponse]:
            left[:] = [HEAD_SIZE]
            answered: Deferred[IResponse] = request(asked)
            return answered.addBoth(complete)

        protocol.dataReceived, protocol.request = counting, requesting
        return protocol


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


def serving_pool(reactor: IReactorTime) -> HTTPConnectionPool:
    """A pool for serving.

    Connections are kept, and a request that finds one of them closed is sent once more on a new one.
    """
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = KEPT_CONNECTIONS
    pool.cachedConnectionTimeout = KEPT_TIME
    return pool


def serving_registry(reactor: Any, url: str, ca_file: Path | None) -> Registry:
    """The registry at `url` as it is asked for what is served. Raises as `trust_policy` does."""
    return _registry(reactor, url, ca_file, CONNECT_TIME, serving_pool(reactor))


def probed_registry(reactor: Any, url: str, ca_file: Path | None, timeout: float) -> Registry:
    """The registry at `url` as probes of `timeout` seconds ask it. Raises as `trust_policy` does."""
    return _registry(reactor, url, ca_file, timeout, probe_pool(reactor))


def probe_pool(reactor: IReactorTime) -> HTTPConnectionPool:
    """A pool for probes: each request has a connection of its own, and none is sent twice in silence.

    A connection that the last answer left open may be closed by its registry just as the next request is sent,
    which would look like an outage.
    """
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False
    return pool


def trust_policy(ca_file: Path | None) -> HostnameCachingHTTPSPolicy:
    """Which certificates a backend may show: of the roots in `ca_file`, or without one of the system's.

    Raises OSError if the file cannot be read, and OpenSSL.crypto.Error if it holds no certificate in PEM form.
    """
    if ca_file is None:
        return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
    with ca_file.open("rb") as file:
        blocks = _PEM_CERTIFICATE.findall(file.read(ROOTS_SIZE))
    if not blocks:
        raise crypto.Error("no certificate")
    roots = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(block) for block in blocks])
    return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(roots))


def count(text: str) -> int | None:
    """A header's whole number, or None if it is none, or a larger one than anything here can mean."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _place(url: str) -> tuple[str, int]:
    """Host and port of a URL, as a connection has them."""
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def words(error: BaseException) -> str:
    """What went wrong between here and a registry, in a few words without secrets, line breaks or control
    characters.
    """
    if isinstance(error, ResponseFailed) and error.reasons:
        return words(error.reasons[0].value)
    for kind, text in _SHORT:
        if isinstance(error, kind):
            return text
    if isinstance(error, SSL.Error):
        return f"TLS: {_tls_words(error)}"
    return printable(str(error) or type(error).__name__)


def printable(text: str) -> str:
    """Text of a stranger's, made fit for a log line: short, on one line, no control characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:WORDS_LENGTH])


def _tls_words(error: BaseException) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return printable(", ".join(str(reason[-1]) for reason in reasons) or type(error).__name__)
