"""The factory that adds TLS to a site."""

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from facaded.tls.certificates import Certificates
from facaded.web.server import SecureSite


class SecureFactory(TLSMemoryBIOFactory):
    """Accepts TLS connections with the certificates in service, and passes their content to `site`."""

    def __init__(self, site: SecureSite, certificates: Certificates, clock: IReactorTime) -> None:
        TLSMemoryBIOFactory.__init__(self, certificates, False, site, clock)
        self._site = site

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:  # type: ignore[override]
        """Return None if the site accepts no more connections: Twisted would wrap the site's None, and fail."""
        return None if self._site.is_full else TLSMemoryBIOFactory.buildProtocol(self, addr)
