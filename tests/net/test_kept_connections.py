"""Real connections of served requests, on the loopback interface: a burst opens few, and the next one none."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from facaded.answering_parts import make_registries
from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import ManifestCache
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.served_content import ReadOptions, Served
from facaded.backends.shares import Shares
from facaded.config.sections import Backend, Config
from facaded.net.client import BoundedClient
from facaded.net.late_client import late_client
from facaded.net.reactor import installed
from facaded.oci.requests import ManifestRead
from facaded.policy.decision import Serve
from facaded.policy.limits import Limits
from tests.backends.fetching import WIDE
from tests.backends.memory import INDEX

CLIENTS = 200


class OpenRegistry(Resource):
    """A registry that has a manifest for each tag, and its own token server."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        path = request.path.decode()
        if path == "/token":
            return b'{"token": "t", "expires_in": 300}'
        if request.getHeader(b"Authorization") is None:
            request.setResponseCode(401)
            url = f"http://{(request.getHeader(b'Host') or b'').decode()}"
            request.setHeader("WWW-Authenticate", f'Bearer realm="{url}/token",service="s"')
            return b""
        body = json.dumps({"mediaType": INDEX, "of": path}).encode()
        request.setHeader("Content-Type", INDEX)
        request.setHeader("Content-Length", str(len(body)))
        if "sha256:" not in path:
            request.setHeader("Docker-Content-Digest", "")
        return b"" if request.method == b"HEAD" else body


class CountingFactory(WrappingFactory):
    """Counts the connections that are `opened`."""

    opened = 0

    def buildProtocol(self, addr: IAddress | None) -> ProtocolWrapper:
        self.opened += 1
        return WrappingFactory.buildProtocol(self, addr)


@asynccontextmanager
async def served_registry(limits: Limits) -> AsyncIterator[tuple[CountingFactory, Fetcher]]:
    factory = CountingFactory(Site(OpenRegistry()))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    backend = Backend("hub", f"http://127.0.0.1:{port.getHost().port}")
    config = Config(backends=(backend,), limits=limits)
    clock = installed()
    cache = ManifestCache(1 << 20, 60, clock.seconds)
    shares = Shares(clock, limits, Quotas(clock), ReachedLimits(clock))
    yield factory, Fetcher(make_registries(clock, config, cache), clock, lambda _: None, shares)
    await port.stopListening()
    for connection in factory.protocols:
        connection.loseConnection()
    await deferLater(clock, 0)


async def ask_twice(opened: CountingFactory, client: BoundedClient) -> int:
    """Send two requests in turn, read their responses, and return how many connections that opened."""
    before = opened.opened
    for _ in range(2):
        await client.ask("GET", f"{client.url}/token", headers={}, limit=1000)
    return opened.opened - before


@pytest_twisted.ensureDeferred
async def test_a_check_opens_a_new_connection_for_each_request() -> None:
    """A connection that is reused would prove less."""
    factory = CountingFactory(Site(OpenRegistry()))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    client = late_client(installed(), f"http://127.0.0.1:{port.getHost().port}", None)
    assert await ask_twice(factory, client) == 1
    assert await ask_twice(factory, client.on_new_connections()) == 2
    await port.stopListening()
    for connection in factory.protocols:
        connection.loseConnection()
    await deferLater(installed(), 0)


async def burst(fetcher: Fetcher, first: int) -> None:
    """Ask for as many different manifests as there are clients, all at once."""
    works = []
    for number in range(first, first + CLIENTS):
        serve = Serve(ManifestRead("org/app", f"v{number}"), ("hub",), "hub")
        options = ReadOptions(WIDE, source=f"192.0.2.{number % 250}")
        works.append(Deferred.fromCoroutine(fetcher.serve(serve, options)))
    answers = await gatherResults(works)
    assert {type(answer) for answer in answers} == {Served}, answers[0]


@pytest_twisted.ensureDeferred
async def test_a_burst_opens_as_many_connections_as_the_settings_allow_and_the_next_one_uses_them() -> None:
    async with served_registry(Limits(backend_requests=20)) as (factory, fetcher):
        await burst(fetcher, 0)
        first = factory.opened
        await burst(fetcher, CLIENTS)
        assert first <= 20
        assert factory.opened == first
