"""TLS termination as one service: certificates from files and from ACME, and the factories that serve them."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from random import SystemRandom

from attrs import frozen
from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from facaded.net.reactor import IFacadedReactor
from facaded.policy.events import EventKind
from facaded.tls.acme.acme_client import AcmeClient
from facaded.tls.acme.managed_certificate import Names
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.wire import CaNetwork, connect
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificates import Certificates
from facaded.tls.challenges import Challenges
from facaded.tls.server_certificate import ServerCertificate


@frozen
class AcmeFiles:
    """The settings of ACME, and the `directory` of what it obtains, which may be `shared` with other daemons."""

    settings: AcmeSettings
    directory: Path
    shared: bool = False


class Termination(MultiService):
    """Terminates TLS for sites.

    Raises StoreError if the directory of ACME cannot be used.
    """

    _log = Logger()
    _follow_obtained: Callable[[Mapping[Names, ServerCertificate]], None] = staticmethod(lambda obtained: None)

    def __init__(
        self,
        reactor: IFacadedReactor,
        challenges: Challenges,
        files: tuple[CertificateFiles, ...],
        hosts: tuple[str, ...],
        acme: AcmeFiles,
    ) -> None:
        MultiService.__init__(self)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        network = CaNetwork(connect(reactor), reactor, time.time)
        self.certificates = Certificates(challenges, reactor, time.time, in_thread, files, hosts)
        self.acme = AcmeClient(
            network, SystemRandom(), acme.settings, acme.directory, challenges, self._serve_obtained, acme.shared
        )
        children: tuple[Service, ...] = (self.certificates, self.acme)
        for child in children:
            child.setServiceParent(self)
        self._serve_obtained()

    @property
    def renewal_failures(self) -> int:
        """How many certificates could not be renewed since the start: by ACME, or because new files are unusable."""
        return self.acme.failures.count + self.certificates.problems

    def follow_obtained(self, follower: Callable[[Mapping[Names, ServerCertificate]], None]) -> None:
        """Call `follower` with the certificates that ACME has obtained, now and whenever they change."""
        self._follow_obtained = follower
        follower(self.acme.current())

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
        obtained = self.acme.current()
        self._follow_obtained(obtained)
        for message in self.certificates.replace_obtained(obtained):
            self._log.error("{message}", message=message, event_kind=EventKind.CERTIFICATE_TROUBLE)
