"""Registries in memory whose CDNs answer as a test says, at once, late or never."""

from typing import Any

from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from facaded.backends.blob_offers import BlobSettings
from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import digest_of
from facaded.backends.served_content import BlobRedirect, NotServed, ReadOptions, Served
from facaded.oci.requests import Blob
from facaded.policy.decision import Serve
from tests.backends.fetching import WIDE
from tests.backends.memory import BLOB, Fake, Network

TRUST = 2.0

CHECKED = BlobSettings(TRUST, 0.0)
"""CDNs are checked, and no address is cached."""

CACHED = BlobSettings(TRUST, 60.0)

READ = Blob("org/app", BLOB)


@define
class FakeCdn:
    """A CDN. `status` is its answer after `delay` seconds, 0 for none; `statuses` are the answers for some paths.

    `checks` are the times of the requests, and `headers` those of the last one.
    """

    status: int = 206
    delay: float = 0.0
    statuses: dict[str, int] = field(factory=dict)
    checks: list[float] = field(factory=list)
    headers: dict[bytes, bytes] = field(factory=dict)


@implementer(IAgent)
class CutOffAgent:
    """An agent that reaches the registries of a network, but gets an error for each request to a CDN."""

    def __init__(self, agent: RequestTraversalAgent, error: Exception) -> None:
        self._agent = agent
        self._error = error

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        if b"//cdn." in uri:
            return fail(self._error)
        response: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return response

    def flush(self) -> None:
        self._agent.flush()


class CdnNetwork(Network):
    """Registries `hub` and `ghcr`, with the CDNs cdn.hub.test and cdn.ghcr.test; other names of CDNs work too."""

    def __init__(self, *names: str) -> None:
        Network.__init__(self, *(Fake(name) for name in names or ("hub", "ghcr")))
        self.agent: Any = self.agent
        self.cdns = {f"cdn.{name}.test": FakeCdn() for name in self.fakes}

    def render(self, request: Request) -> Any:
        host = (request.getHeader(b"Host") or b"").decode()
        if not host.startswith("cdn."):
            return Network.render(self, request)
        cdn = self.cdns.setdefault(host, FakeCdn())
        cdn.checks.append(self.clock.seconds())
        cdn.headers = request.getAllHeaders()
        status = cdn.statuses.get(request.uri.decode(), cdn.status)
        if cdn.delay or not status:
            if status:
                self.clock.callLater(cdn.delay, self._end, request, status)
            return NOT_DONE_YET
        request.setResponseCode(status)
        return b"a"

    @staticmethod
    def _end(request: Request, status: int) -> None:
        request.setResponseCode(status)
        request.finish()

    def start(self, fetcher: Fetcher, read: Blob = READ, serve: Serve | None = None) -> "Deferred[Served | NotServed]":
        """Start a request for a blob."""
        serve = serve or Serve(read, tuple(self.fakes), next(iter(self.fakes)))
        return Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(WIDE, source="192.0.2.1")))

    def locate(self, fetcher: Fetcher, read: Blob = READ, seconds: float = 20, serve: Serve | None = None) -> str:
        """Return where a client that asks for a blob is redirected to."""
        served = self.run(self.start(fetcher, read, serve), seconds)
        assert isinstance(served, Served), served
        assert isinstance(served.content, BlobRedirect)
        return served.content.location

    def advance(self, seconds: float) -> None:
        """Let time pass, in small steps, and let the network work meanwhile."""
        for _ in range(round(seconds * 20)):
            for _ in range(4):
                self.agent.flush()
            self.clock.advance(0.05)
        self.agent.flush()

    def cut_off(self, error: Exception) -> None:
        """Let each request to a CDN fail with this error."""
        self.agent = CutOffAgent(self.agent, error)

    def count_blobs(self, name: str) -> int:
        """Return the number of requests for a blob that a registry has got, with or without a token."""
        return self.fakes[name].count("GET", "/blobs/")


def other_blob(number: int) -> Blob:
    """Return a blob of another repository."""
    return Blob(f"org/app{number}", BLOB)


UNKNOWN = Blob("org/app", digest_of(b"nobody has this"))
