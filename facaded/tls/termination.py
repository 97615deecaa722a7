"""TLS as one service: certificates from files and from ACME, and the connections that speak TLS with them."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import SystemRandom

from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from facaded.net.reactor import IFacadedReactor
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.wire import CaNetwork, connect
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.listening import Secured
from facaded.web.server import SecureSite


class Termination(MultiService):
    """Ends TLS for sites. Raises StoreError if `directory`, where ACME keeps what it obtains, cannot be used."""

    _log = Logger()

    def __init__(
        self,
        reactor: IFacadedReactor,
        challenges: Challenges,
        files: tuple[CertificateFiles, ...],
        hosts: tuple[str, ...],
        orders: AcmeSettings,
        directory: Path,
    ) -> None:
        MultiService.__init__(self)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        network = CaNetwork(connect(reactor), reactor, time.time)
        self._reactor = reactor
        self.certificates = Certificates(challenges, reactor, time.time, in_thread, files, hosts)
        self.acme = AcmeClient(network, SystemRandom(), orders, directory, challenges, self._take_over)
        children: tuple[Service, ...] = (self.certificates, self.acme)
        for child in children:
            child.setServiceParent(self)
        self._take_over()

    def secured(self, site: SecureSite) -> Secured:
        """A factory whose connections speak TLS, with `site` in it."""
        return Secured(site, self.certificates, self._reactor)

    def prepare(
        self, files: tuple[CertificateFiles, ...], hosts: tuple[str, ...], orders: AcmeSettings
    ) -> Callable[[], None]:
        """Prepare for other settings, and return the swap. Raises StoreError; then nothing has changed."""
        prepared_orders = self.acme.prepare(orders)
        prepared_files = self.certificates.prepare(files, hosts)

        def swap() -> None:
            self.acme.reconfigure(prepared_orders)
            self._take_over()
            self.certificates.reconfigure(prepared_files)

        return swap

    def _take_over(self) -> None:
        """Start serving what ACME has obtained."""
        for problem in self.certificates.replace_obtained(self.acme.current()):
            self._log.error("{problem}", problem=problem)
