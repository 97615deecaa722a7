"""Real connections of probes, on the loopback interface: which are reused, and that all of them end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from facaded.backends.ladder import build_probe
from facaded.backends.manifests import digest_of
from facaded.net.connections import session_opener
from facaded.net.reactor import installed
from facaded.oci.indexes import MANIFEST_TYPES
from facaded.oci.requests import Image
from facaded.policy.health import Confirmations, ProbeDepth, Result, Step, Verdict

DEEP = ProbeDepth(deep=True, body=True, canary_seen=True, confirm=True)

BLOB = digest_of(b"blob")

MANIFEST = json.dumps({"layers": [{"digest": BLOB, "size": 4}]})

MANIFEST_DIGEST = digest_of(MANIFEST.encode())

FAILURE = b"HTTP/1.1 500 Text\r\nContent-Length: 0\r\n\r\n"


class CountingRegistry(Factory):
    """A registry that records the requests of each connection, and answers them by path from `answers`.

    It closes a connection that has had `closes_after` requests when the next one arrives. `closed` fires when no
    connection is open any more.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.closes_after = 100
        self.connections: list[list[str]] = []
        self.open = 0
        self.closed: Deferred[None] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.connections.append([])
        self.open += 1
        return CountedConnection(self, self.connections[-1])

    def lose(self) -> None:
        self.open -= 1
        if not self.open:
            previous, self.closed = self.closed, Deferred()
            previous.callback(None)


class CountedConnection(Protocol):
    def __init__(self, registry: CountingRegistry, requests: list[str]) -> None:
        self._registry = registry
        self._requests = requests

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if len(self._requests) == self._registry.closes_after:
            transport.loseConnection()
            return
        method, path, _ = data.split(b"\r\n")[0].decode().split(" ")
        self._requests.append(f"{method} {path}")
        transport.write(self._registry.answers.get(path.partition("?")[0], FAILURE))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._registry.lose()


def answer(status: int, body: str, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} Text", f"Content-Length: {len(body) if length is None else length}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def whole(url: str) -> dict[str, bytes]:
    """The answers of a registry whose token server and CDN are on its own host."""
    typed = (f"Content-Type: {MANIFEST_TYPES[-1]}", f"Docker-Content-Digest: {MANIFEST_DIGEST}")
    return {
        "/v2/": answer(401, "", f'WWW-Authenticate: Bearer realm="{url}/token"'),
        "/token": answer(200, '{"token": "t"}'),
        "/v2/org/app/manifests/latest": answer(200, "", *typed, length=len(MANIFEST)),
        f"/v2/org/app/manifests/{MANIFEST_DIGEST}": answer(200, MANIFEST, *typed),
        f"/v2/org/app/blobs/{BLOB}": answer(307, "", "Location: /cdn"),
        "/cdn": answer(206, "b"),
    }


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[CountingRegistry, str]]:
    """A registry and its URL. At the end, no connection to it and no timer may be left."""
    registry, timers = CountingRegistry(), set(IReactorTime(reactor).getDelayedCalls())
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(registry)
    url = f"http://127.0.0.1:{port.getHost().port}"
    registry.answers = whole(url)
    yield registry, url
    if registry.open:
        await registry.closed.addTimeout(1, reactor)
    await deferLater(installed(), 0)
    await port.stopListening()
    left = [call for call in IReactorTime(reactor).getDelayedCalls() if call not in timers]
    assert left == []


async def probe_once(url: str, depth: ProbeDepth = DEEP, timeout: float = 3) -> Result:
    return await build_probe(installed(), url, None, Image("org/app"), timeout=timeout, has_account=False)(depth)


@pytest_twisted.ensureDeferred
async def test_a_probe_keeps_its_connection_for_its_own_requests_and_closes_it_at_its_end() -> None:
    async with listening() as (registry, url):
        result = await probe_once(url)
        assert (result.verdict, result.step, result.passed) == (Verdict.GOOD, Step.CDN, tuple(Step))
        assert [len(requests) for requests in registry.connections] == [6]
        await registry.closed.addTimeout(1, reactor)
        await probe_once(url)
        assert [len(requests) for requests in registry.connections] == [6, 6]


@pytest_twisted.ensureDeferred
async def test_the_connection_of_a_blob_whose_bytes_are_not_read_is_closed() -> None:
    async with listening() as (registry, url):
        registry.answers[f"/v2/org/app/blobs/{BLOB}"] = answer(307, "moved", "Location: /cdn", length=1 << 30)
        registry.answers["/cdn"] = answer(200, "b", length=1 << 30)
        assert (await probe_once(url)).verdict is Verdict.GOOD
        assert [len(requests) for requests in registry.connections] == [5, 1]


@pytest_twisted.ensureDeferred
async def test_a_connection_that_the_server_closes_before_it_is_used_again_is_no_outage() -> None:
    async with listening() as (registry, url):
        registry.closes_after = 1
        result = await probe_once(url)
        assert (result.verdict, result.step) == (Verdict.GOOD, Step.CDN)
        assert [len(requests) for requests in registry.connections] == [1] * 6


@pytest_twisted.ensureDeferred
async def test_each_confirmation_has_a_new_connection() -> None:
    async with listening() as (registry, url):
        del registry.answers["/token"]
        result = await probe_once(url)
        assert (result.verdict, result.step, result.confirmations) == (Verdict.BAD, Step.TOKEN, Confirmations(5, 5))
        assert [len(requests) for requests in registry.connections] == [2] + [1] * 5
        assert len({requests[-1] for requests in registry.connections}) == 1


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
@pytest_twisted.ensureDeferred
async def test_a_probe_that_times_out_leaves_nothing_open(half: bytes) -> None:
    async with listening() as (registry, url):
        registry.answers["/token"] = half
        result = await probe_once(url, ProbeDepth(), timeout=0.2)
        assert (result.verdict, result.step, result.reason) == (Verdict.BAD, Step.TOKEN, "timeout")


@pytest_twisted.ensureDeferred
async def test_a_probe_that_is_cancelled_leaves_nothing_open() -> None:
    async with listening() as (registry, url):
        registry.answers["/token"] = b""
        probing = build_probe(installed(), url, None, None, timeout=3, has_account=False)(DEEP)
        while not any(len(requests) == 2 for requests in registry.connections):
            await deferLater(installed(), 0.01)
        probing.cancel()
        await probing
        assert len(registry.connections) == 1, "no confirmations"


@pytest_twisted.ensureDeferred
async def test_closing_a_session_aborts_a_connection_in_use() -> None:
    async with listening() as (registry, url):
        registry.answers["/v2/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
        session = session_opener(installed(), url, None, 3.0)()
        response = await session.client.open("GET", f"{url}/v2/", {})
        assert response.status == 200
        assert registry.open == 1
        await session.close()
        await registry.closed.addTimeout(1, reactor)
