"""The certificates in service: one is chosen by the name that a client asks for, and they are replaced as they change.

Those from files are read again when the files change, those that ACME obtains are handed over, and while there is no
other a self-signed one answers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from facaded.tls import certificate_status, selfsigned
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificate_status import CertificateReport
from facaded.tls.challenges import Challenges
from facaded.tls.handshakes import ActiveCertificate, Handshakes, SniMap
from facaded.tls.server_certificate import ServerCertificate, UnusableError
from facaded.tls.watched_files import PreparedFiles, Reading, WatchedFiles

LOOK_INTERVAL = 1.0
"""Seconds between looks at the files: what is new is in service within two. For 200 pairs a look is 400 stat(2)."""

ACME, SELF_SIGNED = "ACME", "self-signed"
"""Where certificates are from that are not from files."""

Readings: TypeAlias = tuple[Reading, ...]

InThread: TypeAlias = Callable[[Callable[[], Readings]], Deferred[Readings]]


@frozen
class PreparedCertificates:
    """What will be in service by other settings."""

    hosts: tuple[str, ...]
    self_signed: ActiveCertificate
    files: PreparedFiles


@implementer(IOpenSSLServerConnectionCreator)
class Certificates(Service):
    """Makes the TLS connections of every listener, each with the certificate that its client asks for.

    `clock` times the looks at the files, `now` gives seconds since the epoch, `in_thread` calls a function where it
    may wait for a disk. `files` and `hosts` are as in `prepare`.
    """

    _log = Logger()

    def __init__(
        self,
        challenges: Challenges,
        clock: IReactorTime,
        now: Callable[[], float],
        in_thread: InThread,
        files: Iterable[CertificateFiles],
        hosts: tuple[str, ...],
    ) -> None:
        self._now = now
        self._in_thread = in_thread
        self._handshakes = Handshakes(challenges)
        self._files = WatchedFiles(self._handshakes, clock, now)
        self._obtained: dict[tuple[str, ...], ActiveCertificate] = {}
        self._refused: dict[tuple[str, ...], str] = {}
        self._expired: set[ActiveCertificate] = set()
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock
        self._hosts, self._self_signed = hosts, self._sign(hosts)
        self.reconfigure(self.prepare(files, hosts))

    def prepare(self, files: Iterable[CertificateFiles], hosts: tuple[str, ...]) -> PreparedCertificates:
        """Read every pair of other settings that has changed, in this thread; nothing changes before `reconfigure`.

        A pair that cannot be used keeps what is in service of it. `hosts` are the names of the self-signed one.
        """
        self_signed = self._self_signed if hosts == self._hosts else self._sign(hosts)
        return PreparedCertificates(hosts, self_signed, self._files.prepare(files))

    def reconfigure(self, prepared: PreparedCertificates) -> None:
        """Go on by other settings. It cannot fail."""
        self._hosts, self._self_signed = prepared.hosts, prepared.self_signed
        self._files.reconfigure(prepared.files)
        self._arrange()

    def replace_obtained(self, obtained: Mapping[tuple[str, ...], ServerCertificate]) -> tuple[str, ...]:
        """Have these in service instead of those handed over before, each by the names that it was ordered for.

        Return a sentence for each that cannot be used; then what was in service for its order stays. Expired ones are
        taken: nothing better may be there.
        """
        problems, made = {}, {}
        for names, certificate in obtained.items():
            old = self._obtained.get(names)
            try:
                if old is None or old.certificate.fingerprint != certificate.fingerprint:
                    old = self._handshakes.activate(certificate, ACME)
                    self._log.info("certificate for {what}", what=str(old))
            except UnusableError as error:
                problems[names] = str(error)
            if old is not None:
                made[names] = old
        self._obtained, self._refused = made, problems
        self._arrange()
        return tuple(f"{', '.join(names)}: {problem}" for names, problem in problems.items())

    def startService(self) -> None:
        Service.startService(self)
        self._looking.start(LOOK_INTERVAL, now=False)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._looking.running:
            self._looking.stop()

    def look(self) -> Deferred[None]:
        """Look at the files once, and read those that have changed."""
        pairs = self._files.pairs

        def looked(readings: Readings) -> None:
            self._files.take(readings, pairs)
            self._arrange_if_changed(bool(readings))

        looking = self._in_thread(lambda: self._files.read_changed(pairs)).addCallback(looked)
        return looking.addErrback(
            lambda failure: self._log.failure("a look at the certificates' files failed", failure)
        )

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol | None) -> SSL.Connection:
        """Return a connection that begins with the default certificate; see IOpenSSLServerConnectionCreator."""
        return self._handshakes.begin()

    def chosen(self, name: str | None) -> ActiveCertificate:
        """Return the certificate for a client that asks for `name`."""
        return self._handshakes.certificates.choose(None if name is None else name.encode("ascii"))

    def status(self, orders: Iterable[OrderStatus] = ()) -> Iterator[CertificateReport]:
        """Return what is in service, and what should be. `orders` say more of what is ordered, by its names."""
        now = self._now()
        for pair in self._files.pairs:
            status = _shown(pair.active, str(pair.files.chain), now)
            yield evolve(status, error=pair.problem)
        by_names = {order.names: order for order in orders}
        for names in dict.fromkeys([*self._obtained, *by_names]):
            status, order = _shown(self._obtained.get(names), ACME, now), by_names.get(names)
            error = (order.error if order else None) or self._refused.get(names)
            yield evolve(status, names=names, order=order, error=error)
        if self._self_signed in self._handshakes.certificates:
            yield _shown(self._self_signed, SELF_SIGNED, now)

    def document(self, orders: Iterable[OrderStatus] = ()) -> list[dict[str, Any]]:
        """Return the same as the status document has it."""
        return [each.document() for each in self.status(orders)]

    def _sign(self, hosts: tuple[str, ...]) -> ActiveCertificate:
        return self._handshakes.activate(selfsigned.make(hosts, self._now()), SELF_SIGNED)

    def _arrange_if_changed(self, changed: bool) -> None:
        """Arrange what is in service if files have changed, or if a certificate has expired, which is logged once."""
        now = self._now()
        expired = {each for each in (*self._files.active(), *self._obtained.values()) if each.has_expired(now)}
        for each in expired - self._expired:
            self._log.warn("expired, and there is no other: certificate for {what}", what=str(each))
        if changed or expired != self._expired:
            self._expired = expired
            self._arrange()

    def _arrange(self) -> None:
        """Make the map anew: what is valid first, then as the settings have it, and the self-signed one last."""
        now = self._now()
        found = sorted([*self._files.active(), *self._obtained.values()], key=lambda each: each.has_expired(now))
        self._handshakes.certificates = SniMap([*found, self._self_signed])


def _shown(active: ActiveCertificate | None, source: str, now: float) -> CertificateReport:
    return CertificateReport((), source) if active is None else certificate_status.of(active, now)
