"""The factory that adds TLS to a site."""

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

from facaded.policy.limits import Limit
from facaded.tls.certificates import Certificates
from facaded.web.channel import SecureChannel
from facaded.web.server import SecureSite

HANDSHAKE_SIZE = 32 << 10
"""Bytes that a client may send until its handshake is complete; with post-quantum keys it sends fewer than 4 KiB."""


class BoundedTls(BufferingTLSTransport):
    """A TLS connection that is aborted if its handshake is too large: OpenSSL would keep 128 KiB of a ClientHello."""

    _received = 0

    def dataReceived(self, data: bytes) -> None:
        channel = self.wrappedProtocol
        if not isinstance(channel, SecureChannel) or not channel.is_handshaking:
            BufferingTLSTransport.dataReceived(self, data)
            return
        channel.attribute()
        self._received += len(data)
        BufferingTLSTransport.dataReceived(self, data)
        if channel.is_handshaking and self._received > HANDSHAKE_SIZE:
            channel.site.admission.note(Limit.HANDSHAKE_SIZE, channel.address)
            channel.abort()


class SecureFactory(TLSMemoryBIOFactory):
    """Accepts TLS connections with the certificates in service, and passes their content to `site`."""

    protocol = BoundedTls

    def __init__(self, site: SecureSite, certificates: Certificates, clock: IReactorTime) -> None:
        TLSMemoryBIOFactory.__init__(self, certificates, False, site, clock)
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> BoundedTls | None:  # type: ignore[override]
        """Return None if the site does not accept the connection: Twisted would wrap the site's None, and fail."""
        channel = self._site.buildProtocol(addr)
        return None if channel is None else BoundedTls(self, channel)
