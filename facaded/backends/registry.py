"""One registry as a peer of HTTP:

every request bounded in size, no redirect followed, nothing sent that was not asked for.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from twisted.internet.interfaces import IPushProducer, IReactorTime, IStreamClientEndpoint
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

USER_AGENT = f"facaded/{__version__}"

ROOTS_SIZE = 1 << 20
"""Bytes read of a file of trust roots; the whole web's roots are a quarter of that."""

WORDS_LENGTH = 200
"""Characters of a backend's or a library's words that are kept for logs and status."""

ATTEMPT_DELAY = 0.1
"""Seconds between the starts of connections to a name's addresses: the least that RFC 8305 §8 recommends. Twisted
also waits this long after the
last address has refused, so that it is part of the time in which an outage is noticed."""

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

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


class TooLargeError(Exception):
    """A body was longer than the limit that was asked for."""


@frozen
class Answer:
    """What a registry said. `headers` are as sent, `body` is complete and within the limit."""

    status: int
    headers: Headers
    body: bytes

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a header, as text."""
        return tuple(value.decode("latin-1") for value in self.headers.getRawHeaders(name.encode("ascii"), []))

    def retry_after(self) -> float:
        """Seconds of a Retry-After; 0 if there is none, or if it is a date, which registries do not send."""
        value = next(iter(self.values("Retry-After")), "")
        return float(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0.0


class Registry:
    """A registry at `url` (scheme, host and port), reached through `agent`.

    The time a request may take is bounded by its asker, by cancelling: that closes the connection at any stage, the
    body's included.
    """

    def __init__(self, url: str, agent: IAgent) -> None:
        self.url = url
        self._agent = _Verbatim(agent)

    async def ask(self, method: str, url: str, *, headers: Mapping[str, str], limit: int) -> Answer:
        """Send one request to `url` and read its answer's body, `limit` bytes at most.

        Raises TooLargeError, or what Twisted raises when there is no connection or no answer; `words` puts either
        into words.
        """
        client = HTTPClient(self._agent)  # a new one each time: it would keep cookies
        sent = Headers({name: [value] for name, value in {"User-Agent": USER_AGENT, **headers}.items()})
        response = await client.request(method, url, headers=sent, allow_redirects=False, unbuffered=True)
        body = _Body(limit)
        response.deliverBody(body)
        return Answer(response.code, response.headers, await body.complete)


def agent(reactor: Any, policy: IPolicyForHTTPS, connect_timeout: float, pool: HTTPConnectionPool) -> IAgent:
    """An agent that connects within `connect_timeout` seconds an address, and trusts by `policy`."""
    made: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy, connect_timeout), pool)
    return made


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How backends are connected to: as Twisted does it, but with less time between the addresses of one name."""

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, connect_timeout: float) -> None:
        self._reactor = reactor
        self._policy = policy
        self._connect_timeout = connect_timeout

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        plain = HostnameEndpoint(
            self._reactor, host, uri.port, timeout=self._connect_timeout, attemptDelay=ATTEMPT_DELAY
        )
        if uri.scheme == b"http":
            return plain
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        endpoint: IStreamClientEndpoint = wrapClientTLS(creator, plain)
        return endpoint


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
