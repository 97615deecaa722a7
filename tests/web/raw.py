"""A connection to a site in memory, with bytes in and bytes out."""

from collections.abc import Iterable

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import alsoProvides

from facaded.web.channel import Channel
from facaded.web.server import BoundedSite


class Transport(StringTransport):
    """A transport that provides ITCPTransport as far as the server uses it."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        alsoProvides(self, ITCPTransport)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing: there is no TCP."""


class FullTransport(Transport):
    """A transport whose buffer is full as soon as it holds anything, until the test calls `drain`."""

    is_full = False

    def write(self, data: bytes) -> None:
        super().write(data)
        self._pause()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        super().writeSequence(data)
        self._pause()

    def drain(self) -> bytes:
        """Take everything, as a client does that reads, and return it."""
        taken: bytes = self.value()
        self.clear()
        if self.is_full and self.producer is not None:
            self.is_full = False
            self.producer.resumeProducing()
        return taken

    def _pause(self) -> None:
        if self.producer is not None:
            self.is_full = True
            self.producer.pauseProducing()


def peer_at(address: str) -> IPv4Address | IPv6Address:
    """Return the address of a peer, such as "192.0.2.7" or "2001:db8::7"."""
    return IPv6Address("TCP", address, 40000) if ":" in address else IPv4Address("TCP", address, 40000)


class Connection:
    """One connection to `site`, which must accept it."""

    def __init__(self, site: BoundedSite, address: str = "192.0.2.7", transport: type[Transport] = Transport) -> None:
        peer = peer_at(address)
        self.transport = transport(peerAddress=peer)
        channel = site.buildProtocol(peer)
        assert isinstance(channel, Channel)
        self.channel = channel
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send bytes, and return what has been received since the last call."""
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
        """End the connection, as the peer or the network would."""
        self.channel.connectionLost(Failure(ConnectionDone()))
