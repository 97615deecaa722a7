"""Connections to servers: trusted certificates, connection pools, timeouts, and address checks."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from OpenSSL import crypto
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
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
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from facaded.net.client import BoundedClient
from facaded.net.connection_attempts import NameEndpoint
from facaded.net.late_client import IDLE_CONNECTIONS
from facaded.net.private_addresses import Boundary, CheckedEndpoint, lookup
from facaded.net.reactor import INetworkReactor

ROOTS_SIZE = 1 << 20
"""Bytes read from a file of trusted roots; the system's whole root store has a quarter of that."""

HEAD_SIZE = 128 << 10
"""Bytes that may arrive before a response's head is complete.

One read of 64 KiB may include the beginning of the body; this leaves the head as much again.
"""

IDLE_TIME = 30
"""Seconds that an idle connection is kept open: less than registries keep theirs."""

CONNECT_TIME = 2.0
"""Timeout in seconds for a connection to one address of a backend when its content is served."""

ATTEMPT_DELAY = 0.1
"""Seconds between connection attempts to a name's addresses: the minimum that RFC 8305 §8 recommends.

Twisted also waits this long after the last address has refused, so it adds to the time until an outage is noticed.
"""

_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def pooled_agents(
    reactor: INetworkReactor, ca_file: Path | None, boundary: Boundary, idle_connections: int
) -> tuple[IAgent, IAgent]:
    """Return the agent of a `late_client` that reuses connections, and one that opens a connection for each request.

    If a reused connection is closed, Twisted sends the request again on a new one. Raises as `trust_policy` does.
    """
    return _agents(reactor, ca_file, CONNECT_TIME, persistent_pool(reactor, idle_connections), boundary)


def fresh_client(reactor: INetworkReactor, url: str, ca_file: Path | None, connect_timeout: float) -> BoundedClient:
    """Return a client of the server at `url` that opens a connection for each request, for CAs.

    `connect_timeout` is in seconds for each address. Connections are not reused, because a server may close one just
    as the next request is sent, which would look like an outage. Raises as `trust_policy` does.
    """
    boundary = Boundary(urlsplit(url).hostname or "", lookup(reactor))
    agent, fresh_agent = _agents(reactor, ca_file, connect_timeout, single_use_pool(reactor), boundary)
    return BoundedClient(url, agent, boundary, fresh_agent=fresh_agent)


@frozen
class ClientSession:
    """A client that keeps its connections open for its next requests, and the function that closes all of them.

    `close` aborts connections, also those in use, because a peer that hangs would not complete the TLS shutdown. Its
    Deferred fires when the idle ones are closed. The client must not be used afterwards.
    """

    client: BoundedClient
    close: Callable[[], Deferred[None]]


def session_opener(
    reactor: INetworkReactor, url: str, ca_file: Path | None, connect_timeout: float
) -> Callable[[], ClientSession]:
    """Return a function that opens a session with the server at `url`, for health checks.

    Sessions share trusted roots and address checks, but no connections. `connect_timeout` is in seconds for each
    address. If a reused connection is closed, Twisted sends the request again on a new one, because a server may close
    one just as the next request is sent, which would look like an outage. Raises as `trust_policy` does.
    """
    boundary = Boundary(urlsplit(url).hostname or "", lookup(reactor))
    shared = _Endpoints(reactor, trust_policy(ca_file), connect_timeout, boundary)

    def open_session() -> ClientSession:
        endpoints, pool = _TrackedEndpoints(shared), persistent_pool(reactor)

        def close() -> Deferred[None]:
            pool.cachedConnectionTimeout = 0  # a connection whose response is just ending comes back after this
            idle_closed: Deferred[None] = pool.closeCachedConnections()
            endpoints.abort_connections()
            return idle_closed

        return ClientSession(BoundedClient(url, Agent.usingEndpointFactory(reactor, endpoints, pool), boundary), close)

    return open_session


def persistent_pool(reactor: IReactorTime, idle_connections: int = IDLE_CONNECTIONS) -> HTTPConnectionPool:
    """Return a pool that keeps idle connections open, up to `idle_connections` to one host."""
    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = idle_connections
    pool.cachedConnectionTimeout = IDLE_TIME
    return pool


def single_use_pool(reactor: IReactorTime) -> HTTPConnectionPool:
    """Return a pool that reuses no connection and never repeats a request by itself."""
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool.retryAutomatically = False
    return pool


def trust_policy(ca_file: Path | None) -> HostnameCachingHTTPSPolicy:
    """Return the policy that verifies server certificates against the roots in `ca_file`, or else the system's roots.

    Raises OSError if the file cannot be read, and OpenSSL.crypto.Error if it contains no valid PEM certificate.
    """
    if ca_file is None:
        return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS())
    with ca_file.open("rb") as file:
        blocks = _PEM_CERTIFICATE.findall(file.read(ROOTS_SIZE))
    if not blocks:
        raise crypto.Error("no certificate")
    roots = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(block) for block in blocks])
    return HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(roots))


def _agents(
    reactor: INetworkReactor,
    ca_file: Path | None,
    connect_timeout: float,
    pool: HTTPConnectionPool,
    boundary: Boundary,
) -> tuple[IAgent, IAgent]:
    endpoints = _Endpoints(reactor, trust_policy(ca_file), connect_timeout, boundary)
    agent, fresh_agent = (
        Agent.usingEndpointFactory(reactor, endpoints, connections) for connections in (pool, single_use_pool(reactor))
    )
    return agent, fresh_agent


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Makes Twisted's usual endpoints, with a shorter delay between a name's addresses and with address checks."""

    def __init__(
        self, reactor: INetworkReactor, policy: IPolicyForHTTPS, connect_timeout: float, boundary: Boundary
    ) -> None:
        self._reactor = reactor
        self._policy = policy
        self._connect_timeout = connect_timeout
        self._boundary = boundary

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint = NameEndpoint(
            self._reactor, host, uri.port, self._connect_timeout, ATTEMPT_DELAY
        )
        if uri.scheme != b"http":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _MeteredEndpoint(CheckedEndpoint(endpoint, host, self._boundary))


@implementer(IAgentEndpointFactory)
class _TrackedEndpoints:
    """Makes the endpoints of another factory, and notes their connections so that all of them can be closed."""

    def __init__(self, endpoints: IAgentEndpointFactory) -> None:
        self._endpoints = endpoints
        self._protocols: list[IProtocol] = []

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return _TrackedEndpoint(self._endpoints.endpointForURI(uri), self._protocols.append)

    def abort_connections(self) -> None:
        """Abort those that are still open: TLS in Twisted cannot abort one that is closed."""
        for protocol in self._protocols:
            transport = protocol.transport  # type: ignore[attr-defined]  # every Protocol has one
            if getattr(transport, "connected", True):
                ITCPTransport(transport).abortConnection()
        self._protocols.clear()


@implementer(IStreamClientEndpoint)
@frozen
class _TrackedEndpoint:
    """An endpoint that calls `note` with the protocol of each connection."""

    endpoint: IStreamClientEndpoint
    note: Callable[[IProtocol], None]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self.endpoint.connect(protocolFactory).addCallback(self._note)

    def _note(self, protocol: IProtocol) -> IProtocol:
        self.note(protocol)
        return protocol


@implementer(IStreamClientEndpoint)
class _MeteredEndpoint:
    """An endpoint that closes a connection when a response's head is too large.

    Twisted limits the length of each line, but not the number of lines.
    """

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        if isinstance(protocolFactory, Factory):
            protocolFactory.noisy = False  # otherwise Twisted logs when each connection opens and closes
        return self._endpoint.connect(protocolFactory).addCallback(self._meter)

    @staticmethod
    def _meter(protocol: Any) -> Any:
        """Count the bytes between a request and the end of its response's head.

        Both wrapped methods are public methods of the protocol that Agent connects; it has no other hook for this.
        """
        receive, send = protocol.dataReceived, protocol.request
        remaining: list[int] = []

        def receive_counted(data: bytes) -> None:
            if remaining:
                remaining[0] -= len(data)
                if remaining[0] < 0:
                    ITCPTransport(protocol.transport).abortConnection()
                    return
            receive(data)

        def stop_counting(outcome: IResponse | Failure) -> IResponse | Failure:
            remaining.clear()
            return outcome

        def send_counted(request: object) -> Deferred[IResponse]:
            remaining[:] = [HEAD_SIZE]
            response: Deferred[IResponse] = send(request)
            return response.addBoth(stop_counting)

        protocol.dataReceived, protocol.request = receive_counted, send_counted
        return protocol
