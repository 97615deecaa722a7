"""A connection to a site in memory: bytes in, bytes out, a clock that is moved by hand."""

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import alsoProvides

from facaded.web.server import BoundedSite, Channel


class Transport(StringTransport):
    """A transport that passes for TCP's where nothing but the abort of a connection is asked of it."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        alsoProvides(self, ITCPTransport)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to set."""


class Connection:
    """One connection to `site`."""

    def __init__(self, site: BoundedSite) -> None:
        self.transport = Transport(peerAddress=IPv4Address("TCP", "192.0.2.7", 40000))
        self.channel: Channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send bytes; gives what has been answered since the last call."""
        self.channel.dataReceived(data)
        return self.received()

    def received(self) -> bytes:
        answer: bytes = self.transport.value()
        self.transport.clear()
        return answer

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting

    def lose(self) -> None:
        """The peer, or the network, ends the connection."""
        self.channel.connectionLost(Failure(ConnectionDone()))
