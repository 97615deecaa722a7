"""How servers are connected to: which certificates they may show, over which connections, and to which addresses."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import crypto
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    HTTPConnectionPool,
)
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from facaded.net.client import BoundedClient
from facaded.net.private_addresses import Boundary, CheckedEndpoint, lookup
from facaded.net.reactor import INetworkReactor

ROOTS_SIZE = 1 << 20
"""Bytes read of a file of trust roots; the whole web's roots are a quarter of that."""

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
"""Seconds between the starts of connections to a name's addresses: the least that RFC 8305 §8 recommends.

Twisted also waits this long after the last address has refused, so that it is part of the time in which an outage is
noticed.
"""

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def pooled_client(reactor: INetworkReactor, url: str, ca_file: Path | None) -> BoundedClient:
    """A client of the server at `url` that keeps connections, for requests that clients wait for.

    A request that finds a kept connection closed is sent once more on a new one. Raises as `trust_policy` does.
    """
    return _client(reactor, url, ca_file, CONNECT_TIME, kept_connections(reactor))


def fresh_client(reactor: INetworkReactor, url: str, ca_file: Path | None, connect_timeout: float) -> BoundedClient:
    """A client of the server at `url` that makes a connection for each request, for health checks and for CAs.

    `connect_timeout` is in seconds for each address. A connection that the last answer left open may be closed by its
    server just as the next request is sent, which would look like an outage. Raises as `trust_policy` does.
    """
    return _client(reactor, url, ca_file, connect_timeout, fresh_connections(reactor))


def kept_connections(reactor: IReactorTime) -> HTTPConnectionPool:
    """A pool whose connections are kept."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = KEPT_CONNECTIONS
    pool.cachedConnectionTimeout = KEPT_TIME
    return pool


def fresh_connections(reactor: IReactorTime) -> HTTPConnectionPool:
    """A pool that keeps no connection, and sends no request twice in silence."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False
    return pool


def trust_policy(ca_file: Path | None) -> HostnameCachingHTTPSPolicy:
    """Which certificates a server may show: of the roots in `ca_file`, or without one of the system's.

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


def _client(
    reactor: INetworkReactor, url: str, ca_file: Path | None, connect_timeout: float, pool: HTTPConnectionPool
) -> BoundedClient:
    boundary = Boundary(urlsplit(url).hostname or "", lookup(reactor))
    endpoints = _Endpoints(reactor, trust_policy(ca_file), connect_timeout, boundary)
    return BoundedClient(url, Agent.usingEndpointFactory(reactor, endpoints, pool), boundary)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How servers are connected to.

    As Twisted does it, with less time between the addresses of one name, and checked.
    """

    def __init__(
        self, reactor: INetworkReactor, policy: IPolicyForHTTPS, connect_timeout: float, boundary: Boundary
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._connect_timeout = connect_timeout
        self._boundary = boundary

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, host, uri.port, timeout=self._connect_timeout, attemptDelay=ATTEMPT_DELAY
        )
        if uri.scheme != b"http":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _MeteredEndpoint(CheckedEndpoint(endpoint, host, self._boundary))


@implementer(IStreamClientEndpoint)
class _MeteredEndpoint:
    """An endpoint whose connections end when the head of an answer is too large:

    Twisted bounds each line, not their number.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        if isinstance(protocolFactory, Factory):
            protocolFactory.noisy = False  # Twisted would log each connection's start and end
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
