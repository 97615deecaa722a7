"""A registry that sends any bytes, through the whole client: connections, HTTP, tokens, verification, the fetcher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.backends.authorized_client import AuthorizedClient
from facaded.backends.blob_offers import BlobSettings
from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.manifests import ManifestCache
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.registry import Registry
from facaded.backends.request_gate import RequestGate, TokenClient
from facaded.backends.shares import Shares
from facaded.backends.tokens import Tokens
from facaded.net.addresses import is_address, is_public
from facaded.net.late_client import late_client
from facaded.policy.limits import Limits
from tests.fuzz import seeds
from tests.fuzz.checking import timers_left
from tests.fuzz.mutations import mutated, mutated_json
from tests.web.raw import Transport

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

HOST = "20.0.0.1"
"""A public address: those for documentation count as private."""

ADDRESSES = {"inward.test": "127.0.0.1"}
"""What the registry's names resolve to, if not to OTHER."""

OTHER = "20.0.0.2"
"""The public address of all other names."""

URL = f"http://{HOST}"

TLS_RECORD = b"\x16"
"""How a TLS hello begins: connections with TLS get no response."""

TURNS = 60
"""How often connections are served: more than the requests that one read may take, with its retries."""

STEP = 0.5
"""Seconds that pass when no connection has anything to do, so that timeouts come."""


def response(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


TYPED = (f"Content-Type: {seeds.MANIFEST_TYPE}", f"Docker-Content-Digest: {seeds.MANIFEST_DIGEST}")
HEAD = response("200 OK", b"", *TYPED).replace(b"Content-Length: 0", b"Content-Length: %d" % len(seeds.MANIFEST))
CHALLENGE = response("401 Unauthorized", b"{}", f'WWW-Authenticate: Bearer realm="{URL}/token",service="hub"')
TOKEN = response("200 OK", b'{"token": "t", "expires_in": 300}', "Content-Type: application/json")

USUAL: Mapping[str, bytes] = {
    "challenge": CHALLENGE,
    "token": TOKEN,
    "HEAD": HEAD,
    "manifest": response("200 OK", seeds.MANIFEST, *TYPED, "RateLimit-Remaining: 76;w=21600"),
    "blob": response("307 Temporary Redirect", b"", "Location: http://cdn.test/a?sig=1"),
    "CDN": response("206 Partial Content", b"a", "Content-Range: bytes 0-0/6"),
    "list": response(
        "200 OK", b'{"name": "org/app", "tags": ["a"]}', 'Link: </v2/org/app/tags/list?last=a>; rel="next"'
    ),
}
"""What a registry like Docker Hub sends to each kind of request."""

OTHERS = (
    response("429 Too Many Requests", b"", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", "Date: x"),
    response("503 Service Unavailable", b"", "Retry-After: 3"),
    response("404 Not Found", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'),
    response("303 See Other", b"", "Location: https://github.com/org"),
    response("206 Partial Content", b"a", "Content-Range: bytes 0-0/6"),
    response("200 OK", b"<h1>Maintenance</h1>", "Content-Type: text/html"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nendless",
    b"HTTP/1.1 100 Continue\r\n\r\n" + response("200 OK", b"{}"),
    b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"",
)

WORDS = (
    b"\r\n",
    b"\n",
    b" ",
    b":",
    b"\x00",
    b"\xff",
    b"HTTP/1.0 200 OK\r\n",
    b"HTTP/9.9 999 \r\n",
    b"HTTP/1.1 -1 x\r\n",
    b"HTTP/1.1 99999999999999999999 x\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Location: http://[::1\r\n",
    b"Location: //evil.test/\r\n",
    b"Location: http://inward.test/\r\n",
    b'WWW-Authenticate: Bearer realm="http://inward.test/token"\r\n',
    b'WWW-Authenticate: Bearer realm="http://127.0.0.1/token"\r\n',
    b"Location: http://127.0.0.1/\r\n",
    b"Location: http://[64:ff9b::7f00:1]/\r\n",
    b"Location: \r\n",
    b"Retry-After: 99999999999999999999999\r\n",
    b"Retry-After: Thu, 99 Abc 99999 99:99:99 +9999\r\n",
    b"Link: <http://[>; rel=next\r\n",
    b"WWW-Authenticate: Bearer realm=\r\n",
    b'WWW-Authenticate: Bearer realm="http://[::1",service="\\"\r\n',
    b"WWW-Authenticate: Basic\r\n",
    b"Docker-Content-Digest: sha256:\r\n",
    b"RateLimit-Remaining: 0;w=999999999\r\n",
    b"Set-Cookie: a=b\r\n",
    b"Content-Range: bytes 0-0/99999999999999999999\r\n",
    b"Content-Range: bytes */*\r\n",
    b" folded\r\n",
    b"ffffffffffffffff\r\n",
    *seeds.JSON_WORDS,
)


@frozen
class Lie:
    """A response instead of the usual one to requests of a kind; after it, the connection `closes` or hangs."""

    kind: str
    content: bytes
    closes: bool


NUMBERS = (200, 200, 206, 307, 302, 301, 303, 304, 400, 401, 403, 404, 429, 500)

STATUSES = tuple(f"{number} Text" for number in NUMBERS)

HEADER_LINES = tuple(word.decode("latin-1").rstrip() for word in WORDS if b": " in word and word.endswith(b"\r\n"))

TOKEN_BODY = b'{"token": "t", "access_token": "t", "expires_in": 300, "issued_at": "2026-11-26T00:00:00Z"}'

BODIES = mutated_json([TOKEN_BODY, seeds.MANIFEST, *seeds.INDEXES, b'{"name": "org/app", "tags": ["a"]}'])


def _written(status: str, body: bytes, headers: list[str]) -> bytes:
    return response(status, body, *headers)


OWN_HEADERS = {
    "challenge": ("WWW-Authenticate", "Retry-After"),
    "token": ("Retry-After",),
    "HEAD": ("Docker-Content-Digest", "Content-Type", "RateLimit-Remaining"),
    "manifest": ("Docker-Content-Digest", "Content-Type", "Retry-After"),
    "blob": ("Location",),
    "CDN": ("Content-Range", "Location"),
    "list": ("Link", "Content-Type"),
}
"""The headers that matter in the responses to each kind of request."""


def _well_formed(kind: str) -> st.SearchStrategy[bytes]:
    """Responses whose HTTP is valid, with headers and content that are not what they should be."""
    own = [line for line in [*HEADER_LINES, *TYPED] if line.startswith(OWN_HEADERS[kind])]
    return st.builds(
        _written,
        st.sampled_from(STATUSES),
        BODIES | st.sampled_from([seeds.MANIFEST, TOKEN_BODY, b"", b"x" * 100_000]),
        st.lists(st.sampled_from(own) | st.sampled_from([*HEADER_LINES, *TYPED]), max_size=4),
    )


def _lies(kind: str) -> st.SearchStrategy[Lie]:
    usual = (mutated([USUAL[kind]], WORDS, most_edits) for most_edits in (1, 3))
    contents = st.one_of(
        *usual, *(_well_formed(kind) for _ in range(3)), mutated(OTHERS, WORDS), st.binary(max_size=40)
    )
    return st.builds(Lie, st.just(kind), contents, st.booleans())


def lies(*kinds: str) -> st.SearchStrategy[list[Lie]]:
    """Up to three lies about these kinds of requests, besides those that every read begins with."""
    return st.lists(st.one_of(*(_lies(kind) for kind in ("challenge", "token", *kinds, *kinds))), max_size=3)


def address_of(host: str) -> str:
    """Return the address of a host: an address is its own."""
    return host if is_address(host) else ADDRESSES.get(host, OTHER)


@implementer(IHostnameResolver)
class LyingResolver:
    """Resolves an address to itself, and a name as `address_of` does."""

    @staticmethod
    def resolveHostName(
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: object = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution: Any = None  # HostnameEndpoint never uses it
        address = address_of(hostName)
        family = IPv6Address if ":" in address else IPv4Address
        resolutionReceiver.addressResolved(family("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution  # type: ignore[no-any-return]


class ClientTransport(Transport):
    """A transport that accepts calls of a producer after its end, as Twisted's TCP connections do."""

    def pauseProducing(self) -> None:
        """Nothing to do: the registry sends whatever it sends."""

    def resumeProducing(self) -> None:
        """Nothing to do: see `pauseProducing`."""

    def stopProducing(self) -> None:
        self.loseConnection()


@define
class MemoryConnection:
    """One connection of the client; `unread` is what the client sent and the registry has not answered."""

    protocol: Any
    transport: ClientTransport
    unread: bytes = b""
    open: bool = True


@define
class HostileRegistry:
    """A registry on an address of its own, in memory, that tells lies instead of its usual responses.

    Requests go through the client that the daemon uses, up to the bytes of each connection. Those to another public
    address are to its CDN; nothing may be sent to an inward address.
    """

    lies: Mapping[str, Lie]
    reactor: Any = field(factory=MemoryReactorClock)
    connections: list[MemoryConnection] = field(factory=list)
    accepted: int = 0

    def __attrs_post_init__(self) -> None:
        self.reactor.installNameResolver(LyingResolver())

    def fetcher(self) -> Fetcher:
        client, gate = late_client(self.reactor, URL, None), RequestGate()
        tokens = Tokens(TokenClient(client, gate), self.reactor.seconds)
        authorized = AuthorizedClient(client, tokens, self.reactor, gate=gate)
        cache = ManifestCache(1 << 20, 10, self.reactor.seconds, 600)
        shares = Shares(self.reactor, Limits(), Quotas(self.reactor), ReachedLimits(self.reactor))
        registries = {"hub": Registry("hub", authorized, (), cache)}
        return Fetcher(registries, self.reactor, lambda _: None, shares, BlobSettings(2.0, 60.0))

    def run(self, work: "Deferred[Any]") -> Any:
        """Serve connections and let time pass until `work` ends; it must end before BUDGET."""
        results: list[Any] = []
        work.addBoth(results.append)
        for _ in range(TURNS + int(2 * BUDGET / STEP)):
            if results:
                break
            if not self._serve():
                self.reactor.advance(STEP)
        assert results, "no result after twice the budget"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def close(self) -> None:
        """Let all timeouts pass, and close the connections that are left."""
        for _ in range(4):
            self.reactor.advance(30)
        for connection in self.connections:
            self._lose(connection)
        self.reactor.advance(30)
        assert timers_left(self.reactor) == []

    def _serve(self) -> bool:
        """Accept connections and answer requests; return whether there were any."""
        busy = False
        for host, _, factory, *_ in self.reactor.tcpClients[self.accepted :]:
            self.accepted += 1
            busy = True
            transport = ClientTransport(peerAddress=IPv4Address("TCP", host, 80))
            connection = MemoryConnection(factory.buildProtocol(None), transport)
            self.connections.append(connection)
            connection.protocol.makeConnection(transport)
        for connection in self.connections:
            busy = self._answer(connection) or busy
        return busy

    def _answer(self, connection: MemoryConnection) -> bool:
        if not connection.open:
            return False
        if connection.transport.disconnecting or connection.transport.disconnected:
            self._lose(connection)  # what an aborted connection has not sent yet is dropped
            return True
        sent = connection.transport.value()
        connection.transport.clear()
        host = connection.transport.getPeer().host
        assert not sent or is_public(host), f"bytes sent to {host}"
        connection.unread += b"" if sent.startswith(TLS_RECORD) else sent
        if b"\r\n\r\n" not in connection.unread:
            return False
        head, _, connection.unread = connection.unread.partition(b"\r\n\r\n")
        lie = self.lies.get(kind := _kind(head, host))
        connection.protocol.dataReceived(lie.content if lie else USUAL[kind])
        if lie and lie.closes:
            self._lose(connection)
        return True

    @staticmethod
    def _lose(connection: MemoryConnection) -> None:
        if connection.open:
            connection.open = False
            connection.protocol.connectionLost(Failure(ConnectionDone()))


def _kind(head: bytes, host: str) -> str:
    method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
    if host != HOST:
        return "CDN"
    if path.startswith("/token"):
        return "token"
    if b"Authorization: " not in head or path == "/v2/":
        return "challenge"
    if "/manifests/" in path:
        return "HEAD" if method == "HEAD" else "manifest"
    return "blob" if "/blobs/" in path else "list"
