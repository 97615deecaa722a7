"""The factory that adds TLS to a site."""

from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.policies import WrappingFactory

from facaded.policy.limits import Limit
from facaded.tls.certificates import Certificates
from facaded.tls.secure_transport import SecureTransport
from facaded.tls.server_connection import ServerConnection
from facaded.web.server import SecureSite

HANDSHAKE_SIZE = 32 << 10
"""Bytes that a client may send until its handshake is complete; with post-quantum keys it sends fewer than 4 KiB."""


class BoundedTls(SecureTransport):
    """A TLS connection that is aborted if its handshake is too large: OpenSSL would keep 128 KiB of a ClientHello.

    `needs_local_address` says whether the choice of the certificate depends on where the connection arrived.
    """

    _received = 0
    needs_local_address = False

    def shake_hands(self, data: bytes) -> None:
        channel = self.content
        if self.needs_local_address and not self._received:  # not earlier: the PROXY protocol may bring another one
            self._tls.note_local_address(getattr(self.getHost(), "host", ""))
        channel.attribute()
        self._received += len(data)
        SecureTransport.shake_hands(self, data)
        if channel.is_handshaking and self._received > HANDSHAKE_SIZE:
            channel.site.admission.note(Limit.HANDSHAKE_SIZE, channel.address)
            channel.abort()


class SecureFactory(WrappingFactory[Any]):
    """Accepts TLS connections with the certificates in service, and passes their content to `site`."""

    noisy = False

    def __init__(self, site: SecureSite, certificates: Certificates, clock: IReactorTime) -> None:
        WrappingFactory.__init__(self, site)
        self._site = site
        self._certificates = certificates
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> BoundedTls | None:
        """Return None if the site does not accept the connection, which is then closed."""
        channel = self._site.buildProtocol(addr)
        if channel is None:
            return None
        connection = BoundedTls(channel, ServerConnection(self._certificates.new_connection()), self._clock)
        connection.needs_local_address = self._certificates.has_addresses
        return connection
