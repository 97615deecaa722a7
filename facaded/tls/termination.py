"""TLS as one service: certificates from files and from ACME, the challenges of both ports, and who speaks TLS."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import SystemRandom

from twisted.application.service import MultiService, Service
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from facaded.net.reactor import IFacadedReactor
from facaded.tls.acme.service import Acme
from facaded.tls.acme.settings import Settings
from facaded.tls.acme.wire import connect
from facaded.tls.certificates import Certificates, Obtained
from facaded.tls.challenges import Challenges
from facaded.tls.files import Files
from facaded.tls.listening import Secured
from facaded.web.server import SecureSite


class Termination(MultiService):
    """Ends TLS for sites. Raises StoreError if `directory`, where ACME keeps what it obtains, cannot be used."""

    _log = Logger()

    def __init__(
        self,
        reactor: IFacadedReactor,
        challenges: Challenges,
        files: tuple[Files, ...],
        hosts: tuple[str, ...],
        orders: Settings,
        directory: Path,
    ) -> None:
        MultiService.__init__(self)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._reactor = reactor
        self.certificates = Certificates(challenges, reactor, time.time, in_thread, files, hosts)
        self.acme = Acme(
            reactor, time.time, SystemRandom(), orders, directory, challenges, self._take_over, connect(reactor)
        )
        children: tuple[Service, ...] = (self.certificates, self.acme)
        for child in children:
            child.setServiceParent(self)
        self._take_over()

    def secured(self, site: SecureSite) -> Secured:
        """A factory whose connections speak TLS, with `site` in it."""
        return Secured(site, self.certificates, self._reactor)

    def prepare(self, files: tuple[Files, ...], hosts: tuple[str, ...], orders: Settings) -> Callable[[], None]:
        """Prepare for other settings, and return the swap. Raises StoreError; then nothing has changed."""

        def swap() -> None:
            self.acme.adopt(orders)
            self._take_over()
            self.certificates.configure(files, hosts)

        return swap

    def _take_over(self) -> None:
        """Start serving what ACME has obtained."""
        obtained = [Obtained(names, each.chain, each.key) for names, each in self.acme.current().items()]
        for problem in self.certificates.replace_obtained(obtained):
            self._log.error("{problem}", problem=problem)
