"""Whether the daemon's ports can be reached by its public names: each address of each name is asked for an answer.

What is asked for is the answer to a challenge with a random token, so that only this daemon's own answer counts: as a
CA does it with http-01 (RFC 8555 §8.3) and tls-alpn-01 (RFC 8737).
"""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredSemaphore, TimeoutError, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from facaded.net.addresses import is_address
from facaded.net.client import REDIRECTS, BoundedClient, describe_error, is_local_error
from facaded.net.connections import single_use_pool
from facaded.net.private_addresses import Resolve, lookup
from facaded.net.reactor import IFacadedReactor
from facaded.net.text import printable
from facaded.tls.acme.dry_runs import AnswersChallenges
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import ACME_TLS, IDENTIFIER
from facaded.tls.subject_names import challenge_name

TIME_LIMIT = 5.0
"""Seconds for a lookup, and for one connection to one address with its answer."""

MOST_NAMES, MOST_ADDRESSES = 50, 16
"""Names that are tried, and addresses of each."""

CONNECTIONS = 10
"""Connections at a time."""

ANSWER_SIZE = 4096
"""Bytes of an answer that are read: the right one has fewer than 100."""

Ask: TypeAlias = Callable[[str, str, int, str], Coroutine[Deferred[Any], Any, str | None]]
"""Asks for an answer: name, address, port, answer. Returns what is wrong, None if the answer is right."""

PUBLIC_PORTS: Mapping[ChallengeKind, int] = {kind: kind.port for kind in ChallengeKind}


@frozen
class PortReport:
    """The outcome for a port of one address of a name.

    `problem` is None if the daemon's own answer arrived. It is `untested` if this machine could not ask, for example
    because it has no IPv6.
    """

    name: str
    address: str
    port: int
    problem: str | None = None
    untested: bool = False


class OwnPorts:
    """Asks for `answers` at the public names, whose addresses `resolve` returns, by default the reactor's resolver.

    `ports` are those that a CA connects to, `time_limit` is in seconds for each lookup and each address.
    """

    def __init__(
        self,
        reactor: IFacadedReactor,
        answers: AnswersChallenges,
        ports: Mapping[ChallengeKind, int] = PUBLIC_PORTS,
        resolve: Resolve | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self._reactor = reactor
        self._answers = answers
        self._ports = ports
        self._resolve = resolve or lookup(reactor)
        self._time_limit = time_limit
        self._places = DeferredSemaphore(CONNECTIONS)

    async def reach(self, names: Iterable[str], kinds: tuple[ChallengeKind, ...]) -> tuple[PortReport, ...]:
        """Ask for the answer of each of `kinds` at each address of each name; none if a name does not resolve.

        Raises AnswerError or UnusableError.
        """
        reports: list[PortReport] = []
        for name in list(dict.fromkeys(names))[:MOST_NAMES]:
            addresses = (await self._find_addresses(name))[:MOST_ADDRESSES]
            for kind in kinds:
                reports += await self._reach_name(name, addresses, kind)
        return tuple(reports)

    async def _reach_name(self, name: str, addresses: list[str], kind: ChallengeKind) -> list[PortReport]:
        port = self._ports[kind]
        if not addresses:
            return []
        token = secrets.token_urlsafe(24)
        answer = f"{token}.{secrets.token_urlsafe(32)}"
        await self._answers.publish(kind, name, token, answer)
        try:
            ask = self._ask_http if kind is ChallengeKind.HTTP else self._ask_tls
            attempts = [self._places.run(partial(self._attempt, ask, name, at, port, answer)) for at in addresses]
            return await gatherResults(attempts)
        finally:
            await self._answers.withdraw()

    async def _find_addresses(self, name: str) -> list[str]:
        if is_address(name):
            return [name]
        searching = Deferred.fromCoroutine(_as_coroutine(self._resolve(name)))
        return list(dict.fromkeys(await searching.addTimeout(self._time_limit, self._reactor).addErrback(lambda _: [])))

    def _attempt(self, ask: Ask, name: str, address: str, port: int, answer: str) -> Deferred[PortReport]:
        async def connect() -> PortReport:
            try:
                asking = Deferred.fromCoroutine(ask(name, address, port, answer))
                problem = await asking.addTimeout(self._time_limit, self._reactor)
            except TimeoutError:
                return PortReport(name, address, port, f"no answer within {self._time_limit:.0f} s")
            except Exception as error:  # a connection may fail with any type; `describe_error` describes them
                return PortReport(name, address, port, describe_error(error), untested=is_local_error(error))
            return PortReport(name, address, port, problem)

        return Deferred.fromCoroutine(connect())

    async def _ask_http(self, name: str, address: str, port: int, answer: str) -> str | None:
        """Return what is wrong with the answer to a request for a token, None if it is the right one."""
        endpoints = _OneEndpoint(self._endpoint(address, port))
        agent = Agent.usingEndpointFactory(self._reactor, endpoints, single_use_pool(self._reactor))
        url = f"http://[{name}]" if ":" in name else f"http://{name}"
        path = f"/.well-known/acme-challenge/{answer.partition('.')[0]}"
        response = await BoundedClient(url, agent).ask("GET", f"{url}{path}", headers={}, limit=ANSWER_SIZE)
        if response.status == 200 and response.body == answer.encode("ascii"):
            return None
        server = response.value("Server")
        if response.status in REDIRECTS:
            return f"another server redirects to {printable(response.value('Location'))}"
        return f"another server ({printable(server) or 'unnamed'}) answers, with status {response.status}"

    async def _ask_tls(self, name: str, address: str, port: int, answer: str) -> str | None:
        """Return what is wrong with the certificate that is sent for a challenge, None if it is the right one."""
        endpoint = wrapClientTLS(_ChallengeClient(challenge_name(name)), self._endpoint(address, port))
        validation = await connectProtocol(endpoint, _Validation())
        certificate = await validation.received
        try:
            proof = certificate.extensions.get_extension_for_oid(IDENTIFIER).value
        except (x509.ExtensionNotFound, ValueError):
            return "another server ends TLS there"
        digest = hashlib.sha256(answer.encode("ascii")).digest()
        is_own = isinstance(proof, x509.UnrecognizedExtension) and proof.value.endswith(digest)
        return None if is_own else "another ACME client answers there"

    def _endpoint(self, address: str, port: int) -> IStreamClientEndpoint:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self._reactor, address, port, self._time_limit)
        return endpoint


@implementer(IAgentEndpointFactory)
@frozen
class _OneEndpoint:
    """Connects to one address, whatever the URL."""

    endpoint: IStreamClientEndpoint

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self.endpoint


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _ChallengeClient:
    """Connects as a CA does for tls-alpn-01 (RFC 8737 §3), and verifies nothing: the certificate itself is compared."""

    asked_name: str

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_alpn_protos([ACME_TLS])
        connection = SSL.Connection(context, None)
        connection.set_tlsext_host_name(self.asked_name.encode("ascii"))
        return connection


@implementer(IHandshakeListener)
class _Validation(Protocol):
    """Waits for the end of a handshake; `received` fires with the server's certificate, and closes the connection."""

    def __init__(self) -> None:
        self.received: Deferred[x509.Certificate] = Deferred(lambda _: self._abort())

    def handshakeCompleted(self) -> None:
        transport: Any = self.transport
        certificate = transport.getPeerCertificate().to_cryptography()
        transport.loseConnection()
        if not self.received.called:
            self.received.callback(certificate)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.received.called:
            self.received.errback(reason)

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


async def _as_coroutine(addresses: Awaitable[list[str]]) -> list[str]:
    return await addresses
