"""TLS termination as one service: certificates from files and from ACME, and the factories that serve them."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import SystemRandom

from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from facaded.net.reactor import IFacadedReactor
from facaded.policy.events import EventKind
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.wire import CaNetwork, connect
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.secure_factory import SecureFactory
from facaded.web.server import SecureSite


class Termination(MultiService):
    """Terminates TLS for sites.

    ACME stores what it obtains in `directory`. Raises StoreError if that cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IFacadedReactor,
        challenges: Challenges,
        files: tuple[CertificateFiles, ...],
        hosts: tuple[str, ...],
        acme: AcmeSettings,
        directory: Path,
    ) -> None:
        MultiService.__init__(self)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        network = CaNetwork(connect(reactor), reactor, time.time)
        self._reactor = reactor
        self.certificates = Certificates(challenges, reactor, time.time, in_thread, files, hosts)
        self.acme = AcmeClient(network, SystemRandom(), acme, directory, challenges, self._serve_obtained)
        children: tuple[Service, ...] = (self.certificates, self.acme)
        for child in children:
            child.setServiceParent(self)
        self._serve_obtained()

    def secure_factory(self, site: SecureSite) -> SecureFactory:
        """Return a factory whose connections speak TLS and pass their content to `site`."""
        return SecureFactory(site, self.certificates, self._reactor)

    def prepare(
        self, files: tuple[CertificateFiles, ...], hosts: tuple[str, ...], acme: AcmeSettings
    ) -> Callable[[], None]:
        """Return a function that applies new settings and cannot fail. Raises StoreError; then nothing has changed."""
        prepared_acme = self.acme.prepare(acme)
        prepared_files = self.certificates.prepare(files, hosts)

        def apply() -> None:
            self.acme.reconfigure(prepared_acme)
            self._serve_obtained()
            self.certificates.reconfigure(prepared_files)

        return apply

    def _serve_obtained(self) -> None:
        """Start serving the certificates that ACME obtained."""
        for message in self.certificates.replace_obtained(self.acme.current()):
            self._log.error("{message}", message=message, event_kind=EventKind.CERTIFICATE_TROUBLE)
