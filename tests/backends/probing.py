"""Registries in memory for the tests of probes, and an image at them."""

import json
from collections.abc import Sequence
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.ladder import probe
from facaded.backends.manifests import digest_of
from facaded.backends.probe_target import ProbeTarget
from facaded.net.client import BoundedClient
from facaded.net.connections import ClientSession
from facaded.oci import indexes
from facaded.oci.requests import Image
from facaded.policy.health import CONFIRMATION_TIME, ProbeDepth, Result, Verdict

CHALLENGE = 'Bearer realm="http://tokens.test/token?x=1",service="registry.test",scope="repository:user/image:pull"'

Answer = tuple[int, dict[str, str], bytes]

Table = dict[str, Answer | Sequence[Answer | None]]
"""Answers by path, or by method and path. Of a sequence, each request takes the next one; None is no answer."""

SHALLOW, DEEP, SEEN = ProbeDepth(), ProbeDepth(deep=True), ProbeDepth(canary_seen=True)

GOOD, LIMITED, BAD = Verdict.GOOD, Verdict.LIMITED, Verdict.BAD


class Registries(Resource):
    """Registries that answer by path, and never for a path that is not in the table. `paths` records the requests."""

    isLeaf = True

    def __init__(self, table: Table) -> None:
        Resource.__init__(self)
        self.table = {
            path: iter(entry) if isinstance(entry, Sequence) and not isinstance(entry, tuple) else entry
            for path, entry in table.items()
        }
        self.methods: list[str] = []
        self.paths: list[str] = []
        self.headers: list[dict[bytes, list[bytes]]] = []

    def render(self, request: Request) -> Any:
        method, path = request.method.decode(), request.path.decode()
        self.methods.append(method)
        self.paths.append(request.uri.decode())
        self.headers.append({name: list(values) for name, values in request.requestHeaders.getAllRawHeaders()})
        entry = self.table.get(f"{method} {path}", self.table.get(path))
        answer = entry if entry is None or isinstance(entry, tuple) else next(entry)
        if answer is None:
            return NOT_DONE_YET
        status, headers, body = answer
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body


def run(agent: IAgent, canary: Image | None, depth: ProbeDepth, **fields: Any) -> list[Result]:
    """Probe http://registry.test through `agent`, let every timeout pass, and return the result in a list."""
    clock, results = Clock(), list[Result]()
    url = "http://registry.test"
    session = ClientSession(BoundedClient(url, agent), lambda: succeed(None))
    target = ProbeTarget(url, lambda: session, canary, timeout=3.0, **fields)
    work = Deferred.fromCoroutine(probe(target, depth, clock))
    work.addCallback(results.append)
    for seconds in (3.0, CONFIRMATION_TIME, 0.0):
        for _ in range(12):
            if isinstance(agent, RequestTraversalAgent):
                agent.flush()
        if not results:
            clock.advance(seconds)
    assert clock.getDelayedCalls() == []
    return results


def climb(
    table: Table, canary: Image | None = None, depth: ProbeDepth = SHALLOW, **fields: Any
) -> tuple[Result, Registries]:
    registries = Registries(table)
    return run(RequestTraversalAgent(registries), canary, depth, **fields)[0], registries


def unauthorized(challenge: str = CHALLENGE) -> Answer:
    return 401, {"WWW-Authenticate": challenge}, b"{}"


TOKEN: Answer = (200, {}, b'{"token": "t"}')

CANARY = Image("org/app")

MANIFESTS = "/v2/org/app/manifests/"

LATEST = f"{MANIFESTS}latest"


def digested(document: dict[str, Any]) -> tuple[str, bytes]:
    body = json.dumps(document).encode()
    return digest_of(body), body


def found(digest: str = "", kind: str = indexes.INDEX, **headers: str) -> Answer:
    """The answer to the HEAD of a manifest."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, {"Content-Type": kind, **({"Docker-Content-Digest": digest} if digest else {}), **named}, b""


LARGE, SMALL = digest_of(b"large"), digest_of(b"small")

PLATFORM, PLATFORM_BODY = digested(
    {"config": {"digest": LARGE, "size": 9000}, "layers": [{"digest": SMALL, "size": 5}, {"digest": LARGE, "size": 0}]}
)

INDEX, INDEX_BODY = digested({"manifests": [{"digest": "no", "size": 1}, {"digest": PLATFORM, "size": 200}]})

BLOB = f"/v2/org/app/blobs/{SMALL}"

FOUND = found(INDEX)

GATE: Table = {"/v2/": unauthorized(), "/token": TOKEN}

WHOLE: Table = {
    **GATE,
    LATEST: FOUND,
    f"{MANIFESTS}{INDEX}": (200, {}, INDEX_BODY),
    f"{MANIFESTS}{PLATFORM}": (200, {}, PLATFORM_BODY),
    BLOB: (307, {"Location": "http://cdn.test/blob?sig=1"}, b""),
    "/blob": (206, {}, b"s"),
}

PAGE: Answer = (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Back soon</html>")
"""A maintenance page with status 200."""
