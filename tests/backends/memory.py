"""Registries in memory that require tokens, and can fail in ways that real registries did."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.authorized_client import AuthorizedClient
from facaded.backends.blob_offers import UNCHECKED, BlobSettings
from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import ManifestCache, digest_of
from facaded.backends.measurements import Measurements
from facaded.backends.own_account import Credentials
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.refused_accounts import RefusedAccounts
from facaded.backends.registry import Registry
from facaded.backends.request_gate import RequestGate, TokenClient
from facaded.backends.shares import Shares
from facaded.backends.tokens import Tokens
from facaded.net.client import BoundedClient
from facaded.net.private_addresses import Boundary
from facaded.policy.evidence import Attempt
from facaded.policy.limits import Limits
from facaded.policy.repositories import Rename

T = TypeVar("T")
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BLOB = digest_of(b"a blob")


@define
class Fake:
    """A registry at https://NAME.test, with its token server at https://auth.NAME.test and CDN at https://cdn.NAME.test.

    `fault` is how it fails; `manifests` maps repository and reference to media type and body; `headers` are sent with
    every manifest or list, and their Location with every blob; `retry_after` is sent with a failure. `pages` maps path
    and query of a list to its JSON and its Link. `requests` are method and path of each request, `authorizations` its
    host and Authorization; `valid` are the valid tokens, and `tokens` counts those that were issued. `after_challenge`
    is called after each challenge. `basic` is the challenge for a refused Authorization, with the fault "harbor".
    """

    name: str
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(factory=dict)
    fault: str = ""
    retry_after: str = ""
    realm: str = ""
    basic: str = 'Basic realm="harbor"'
    headers: dict[str, str] = field(factory=dict)
    pages: dict[str, tuple[Any, str]] = field(factory=dict)
    tokens: int = 0
    requests: list[tuple[str, str]] = field(factory=list)
    authorizations: list[tuple[str, str]] = field(factory=list)
    valid: set[str] = field(factory=set)
    after_challenge: Callable[[], None] = lambda: None

    def put(self, repository: str, tag: str, kind: str = INDEX, body: bytes = b"") -> str:
        """Publish a manifest and return its digest."""
        body = body or json.dumps({"mediaType": kind, "of": [repository, tag]}).encode()
        digest = digest_of(body)
        self.manifests[repository, tag] = self.manifests[repository, digest] = kind, body
        return digest

    def put_index(self, repository: str, tag: str, *platforms: str, seed: str = "") -> str:
        """Publish an index with a manifest for each platform, and return the digest of the index."""
        entries = []
        for platform in platforms:
            body = json.dumps({"mediaType": MANIFEST, "of": [repository, tag, platform, seed]}).encode()
            self.put(repository, digest_of(body), MANIFEST, body)
            system, _, rest = platform.partition("/")
            architecture, _, variant = rest.partition("/")
            fields = {"os": system, "architecture": architecture, "variant": variant}
            entries.append({"mediaType": MANIFEST, "digest": digest_of(body), "platform": fields})
        return self.put(repository, tag, INDEX, json.dumps({"mediaType": INDEX, "manifests": entries}).encode())

    def count(self, method: str, part: str) -> int:
        """Return the number of requests with this method and this part of a path."""
        return sum(1 for request_method, path in self.requests if request_method == method and part in path)

    def answer(self, request: Request, host: str) -> Any:
        method, path = request.method.decode(), request.uri.decode()
        authorization = (request.getHeader(b"Authorization") or b"").decode()
        self.requests.append((method, path))
        self.authorizations.append((host, authorization))
        if self.fault == "hang" or self.fault == f"hang {host}":
            return NOT_DONE_YET
        if host.startswith("auth."):
            return self._token(request)
        if host.startswith("cdn."):
            request.setResponseCode(206)
            request.setHeader("Content-Range", "bytes 0-0/6")
            return b"a"
        if path == "/v2/" and self.fault == "open door":
            return b"{}"
        allowed = self.fault == "open" or authorization in self.valid
        if not allowed and authorization.removeprefix("Bearer ") not in self.valid:
            return self._challenge(request)
        if path == "/v2/":
            return b"{}"
        if self.fault == "8 kB headers" and any(len(value) > 8000 for value in request.getAllHeaders().values()):
            return self._respond(request, 500, {}, b"")
        if self.fault == "400":
            return self._respond(request, 400, {}, b"")
        if self.fault in ("500", "429", "403"):
            return self._fail(request)
        return self._read(request, urlsplit(path))

    def _read(self, request: Request, path: Any) -> Any:
        if not path.path.startswith("/v2/"):
            return self._respond(request, 404, {}, b"")
        repository, kind, reference = path.path.removeprefix("/v2/").rsplit("/", 2)
        if page := self.pages.get(path.geturl()):
            headers = {"Content-Type": INDEX, **({"Link": page[1]} if page[1] else {})}
            return self._respond(request, 200, headers, json.dumps(page[0]).encode())
        match kind:
            case "manifests":
                return self._manifest(request, repository, reference)
            case "blobs" if reference == BLOB and self.fault == "bytes":
                return self._respond(request, 200, {}, b"a blob")
            case "blobs" if reference == BLOB:
                location = self.headers.get("Location", f"https://cdn.{self.name}.test/a?sig=1")
                return self._respond(request, 307, {"Location": location}, b"")
            case "tags" | "referrers" if self.fault == "hang lists":
                return NOT_DONE_YET
            case "tags" if self.fault == "login page":
                return self._respond(request, 307, {"Location": "/login"}, b"<a href=login>")
            case "tags":
                link = self.headers.get("Link", f'</v2/{repository}/tags/list?n=1&last=b>; rel="next"')
                body = json.dumps({"name": repository, "tags": ["b"]}).encode()
                return self._respond(request, 200, {**self.headers, "Link": link}, body)
            case "referrers" if self.fault == "no referrers":
                return self._respond(request, 404, {}, b"")
            case "referrers" if self.fault.startswith("referrers "):
                return self._respond(request, int(self.fault[-3:]), {}, b"")
            case "referrers" if self.fault == "login page":
                return self._respond(request, 307, {"Location": "/login"}, b"<a href=login>")
            case "referrers":
                headers = {"OCI-Filters-Applied": "artifactType", "Content-Type": INDEX, **self.headers}
                return self._respond(request, 200, headers, b"{}")
        return self._respond(request, 404, {}, b"")

    def _manifest(self, request: Request, repository: str, reference: str) -> bytes:
        accept = (request.getHeader(b"Accept") or b"").decode()
        kind, body = self.manifests.get((repository, reference), ("", b""))
        if self.fault == "GET 500" and request.method == b"GET":
            return self._fail(request)
        if self.fault == "page":
            return self._respond(request, 200, {"Content-Type": "text/html"}, b"<h1>Maintenance</h1>")
        if not kind or (kind not in accept and "*/*" not in accept):
            return self._respond(request, 404, {}, b"")
        digest = digest_of(body)
        if self.fault == "wrong digest":
            body += b" "
        headers = {"Content-Type": kind, "Docker-Content-Digest": digest, "Content-Length": str(len(body))}
        if self.fault == "no digest":
            del headers["Docker-Content-Digest"]
        return self._respond(request, 200, {**headers, **self.headers}, body)

    def _token(self, request: Request) -> bytes:
        if self.fault == "account refused" and request.getHeader(b"Authorization"):
            return self._respond(request, 401, {}, b"")
        if self.fault == f"account 403 {self._scope(request)}" and request.getHeader(b"Authorization"):
            return self._respond(request, 403, {}, b"")
        if self.fault in ("token 500", "token 429", "token 403", "token 404"):
            return self._fail(request)
        self.tokens += 1
        token = f"{self.name}-{self.tokens}"
        if self.fault != "refuse tokens":
            self.valid.add(token)
        return json.dumps({"token": token, "expires_in": 300, "scope": self._scope(request)}).encode()

    @staticmethod
    def _scope(request: Request) -> str:
        return parse_qs(urlsplit(request.uri.decode()).query).get("scope", ["none"])[0]

    def _challenge(self, request: Request) -> bytes:
        realm = self.realm or f"https://auth.{self.name}.test/token"
        if self.fault == "harbor" and request.getHeader(b"Authorization"):
            return self._respond(request, 401, {"WWW-Authenticate": self.basic}, b"")
        if self.fault == "basic":
            return self._respond(request, 401, {"WWW-Authenticate": 'Basic realm="hub"'}, b"")
        challenge = f'Bearer realm="{realm}",service="{self.name}",scope="repository:user/image:pull"'
        self.after_challenge()
        return self._respond(request, 401, {"WWW-Authenticate": challenge}, b"")

    def _fail(self, request: Request) -> bytes:
        headers = {"Retry-After": self.retry_after} if self.retry_after else {}
        return self._respond(request, int(self.fault[-3:]), headers, b"")

    @staticmethod
    def _respond(request: Request, status: int, headers: dict[str, str], body: bytes) -> bytes:
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return b"" if request.method == b"HEAD" else body


class Network(Resource):
    """Several registries, and an agent that connects to them. `attempts` are those that a fetcher reported.

    `replies` are the status and body of every response of a host, or of a host and path; it hangs with status 0.
    """

    isLeaf = True

    def __init__(self, *fakes: Fake) -> None:
        Resource.__init__(self)
        self.fakes = {fake.name: fake for fake in fakes}
        self.unknown_hosts: list[tuple[str, str]] = []
        self.clock = Clock()
        self.agent = RequestTraversalAgent(self)
        self.attempts = list[Attempt]()
        self.boundaries = dict[str, Boundary]()
        self.refused_accounts = RefusedAccounts(self.clock)
        self.quotas, self.reached_limits = Quotas(self.clock), ReachedLimits(self.clock)
        self.shares = Shares(self.clock, Limits(), self.quotas, self.reached_limits)
        self.measurements = Measurements(self.clock)
        self.replies = dict[str, tuple[int, bytes]]()

    def render(self, request: Request) -> Any:
        host = (request.getHeader(b"Host") or b"").decode()
        if reply := self.replies.get(host) or self.replies.get(host + request.uri.decode()):
            request.setResponseCode(reply[0] or 200)
            return reply[1] if reply[0] else NOT_DONE_YET
        name = host.removesuffix(".test").rpartition(".")[2]
        if name in self.fakes:
            return self.fakes[name].answer(request, host)
        self.unknown_hosts.append((host, (request.getHeader(b"Authorization") or b"").decode()))
        return b'{"token": "stranger"}'

    def fetcher(
        self,
        renames: Mapping[str, tuple[Rename, ...]] | None = None,
        credentials: Credentials | None = None,
        size: int = 1 << 20,
        publish_private: bool = False,
        stale_tags: float = 600,
        blobs: BlobSettings = UNCHECKED,
    ) -> Fetcher:
        """Return a fetcher from these registries; the credentials are for the first one.

        Its clock is also its wall clock, so the epoch is the start of the test.
        """
        cache = ManifestCache(size, 10, self.clock.seconds, stale_tags, self.measurements.cache_uses)
        registries = self.registries(cache, renames, credentials, publish_private)
        return Fetcher(registries, self.clock, self.attempts.append, self.shares, blobs, self.clock.seconds, cache)

    @property
    def failed(self) -> list[str]:
        """The backends that failed a request."""
        return [attempt.backend for attempt in self.attempts if not attempt.good]

    def registries(
        self,
        cache: ManifestCache,
        renames: Mapping[str, tuple[Rename, ...]] | None = None,
        credentials: Credentials | None = None,
        publish_private: bool = False,
    ) -> dict[str, Registry]:
        """Return clients of these registries; the credentials are for the first one."""
        registries: dict[str, Registry] = {}
        for name in self.fakes:
            client = BoundedClient(f"https://{name}.test", self.agent, self.boundaries.get(name))
            account = credentials if not registries else None
            note, count = partial(self.refused_accounts.note, name), partial(self.measurements.note_token, name)
            gate = RequestGate(measured=self.measurements.measured(name))
            tokens = Tokens(TokenClient(client, gate), self.clock.seconds, account, publish_private, note, count)
            authorized = AuthorizedClient(client, tokens, self.clock, partial(self.quotas.note, name), gate)
            registries[name] = Registry(name, authorized, (renames or {}).get(name, ()), cache)
        return registries

    def run(self, work: Deferred[T], seconds: float = 0) -> T:
        """Run the network until `work` ends, for at most `seconds`, and return its result."""
        results: list[T] = []
        work.addCallback(results.append)
        for _ in range(int(seconds * 10) + 1):
            for _ in range(12):
                self.agent.flush()
            if results:
                break
            self.clock.advance(0.1)
        work.addErrback(lambda failure: failure.raiseException())
        return results[0]
