"""Endpoints to listen on, from Twisted's strings.

`twisted.internet.endpoints` takes 0.4 MiB with what it imports, so it is imported only for the endpoints that need it:
a worker listens on TCP ports, as a rule.
"""

import re
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorCore, IStreamServerEndpoint
from zope.interface import implementer

_TCP = re.compile(r"tcp:(\d{1,5})(?::interface=((?:[0-9A-Fa-f.]|\\:)*))?(?::backlog=(\d{1,5}))?")
"""The endpoints that facaded writes itself, and most of those that others write."""

DEFAULT_BACKLOG = 50
"""Twisted's."""


def server_endpoint(reactor: IReactorCore, text: str) -> IStreamServerEndpoint:
    """Return the endpoint that a string describes: see `twisted.internet.endpoints.serverFromString`.

    Raises as that does, for each kind of endpoint another error.
    """
    if match := _TCP.fullmatch(text):
        interface = (match[2] or "").replace("\\:", ":")
        return _TcpEndpoint(reactor, int(match[1]), int(match[3] or DEFAULT_BACKLOG), interface)
    from twisted.internet.endpoints import serverFromString

    endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    return endpoint


@implementer(IStreamServerEndpoint)
class _TcpEndpoint:
    """What `TCP4ServerEndpoint` is; it listens on IPv6 too, by its interface."""

    def __init__(self, reactor: Any, port: int, backlog: int, interface: str) -> None:
        self._reactor = reactor
        self._arguments = {"port": port, "backlog": backlog, "interface": interface}

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen. See `IStreamServerEndpoint`."""
        return execute(self._reactor.listenTCP, factory=protocolFactory, **self._arguments)
