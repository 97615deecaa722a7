"""TLS under a site."""

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from facaded.tls.certificates import Certificates
from facaded.web.server import SecureSite


class Secured(TLSMemoryBIOFactory):
    """Speaks TLS with the certificates in service, and hands what is in it to `site`."""

    def __init__(self, site: SecureSite, certificates: Certificates, clock: IReactorTime) -> None:
        TLSMemoryBIOFactory.__init__(self, certificates, False, site, clock)
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """None where the site takes no more connections: Twisted would wrap that None, and fail."""
        return None if self._site.full else TLSMemoryBIOFactory.buildProtocol(self, addr)
