"""Clients that connect to servers from their first request on.

Only that imports Twisted's HTTP client, treq, and TLS for clients (`connections`): they take 2 MiB, and a worker whose
clients are all redirected never needs them. The import takes 0.1 s, once in a process, which answers nobody meanwhile.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from facaded.net.client import BoundedClient
from facaded.net.private_addresses import Boundary, lookup
from facaded.net.reactor import INetworkReactor

IDLE_CONNECTIONS = 8
"""Idle connections that a session keeps open to one host: more than a probe has requests."""


def import_client() -> None:
    """Import what the first request needs now, so that it need not wait."""
    import treq.client  # noqa: F401

    import facaded.net.connections  # noqa: F401


def late_client(
    reactor: INetworkReactor,
    url: str,
    ca_file: Path | None,
    note_local_error: Callable[[str], None] | None = None,
    idle_connections: int = IDLE_CONNECTIONS,
) -> BoundedClient:
    """Return a client of the server at `url` that reuses connections, for requests that clients wait for.

    `idle_connections` to one host stay open. If that is the most that are in progress, a burst after another needs no
    new ones; 64 with TLS take a few MiB, for IDLE_TIME, at each of at most 16 backends. With a `ca_file`, which is read
    at once, it raises as `trust_policy` does.
    """
    boundary = Boundary(urlsplit(url).hostname or "", lookup(reactor))

    @cache
    def agents() -> tuple[IAgent, IAgent]:
        from facaded.net.connections import pooled_agents

        return pooled_agents(reactor, ca_file, boundary, idle_connections)

    if ca_file is not None:
        agents()
    agent, fresh_agent = _LateAgent(lambda: agents()[0]), _LateAgent(lambda: agents()[1])
    return BoundedClient(url, agent, boundary, note_local_error, fresh_agent)


@implementer(IAgent)
class _LateAgent:
    """The agent that `find` returns."""

    def __init__(self, find: Callable[[], IAgent]) -> None:
        self._find = find

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        return self._find().request(method, uri, headers, bodyProducer)
