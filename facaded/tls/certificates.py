"""The certificates in service: selects one by the name that the client asks for, and replaces those that change.

Certificates from files are read again when the files change. Those that ACME obtains are handed over. A self-signed
certificate answers for hosts that have no other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from facaded.tls import certificate_status, selfsigned
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.certificate_status import CertificateReport
from facaded.tls.challenges import Challenges
from facaded.tls.expiry_log import ExpiryLog
from facaded.tls.handshakes import ActiveCertificate, Handshakes, SniMap
from facaded.tls.reminders import Reminders
from facaded.tls.server_certificate import ServerCertificate, UnusableError
from facaded.tls.watched_files import PreparedFiles, Reading, WatchedFiles

POLL_INTERVAL = 1.0
"""Seconds between checks of the files: a change is in service within two. A check of 200 pairs is 400 stat(2) calls."""

ACME, SELF_SIGNED = "ACME", "self-signed"
"""The source of certificates that do not come from files."""

Readings: TypeAlias = tuple[Reading, ...]

InThread: TypeAlias = Callable[[Callable[[], Readings]], Deferred[Readings]]


@frozen
class PreparedCertificates:
    """The certificates for new settings, ready to be put in service."""

    hosts: tuple[str, ...]
    self_signed: ActiveCertificate
    files: PreparedFiles


class Certificates(Service):
    """Creates the TLS connections of every listener, each with the certificate that its client asks for.

    `clock` times the checks of the files, `now` returns seconds since the epoch, `in_thread` calls a function where it
    may block on the disk. `files` and `hosts` are as in `prepare`. `files_changed` is called after files have changed.
    If it `has_addresses`, a certificate for an IP address is in service, and connections must say where they arrived.
    """

    has_addresses = False
    _log = Logger()
    files_changed: Callable[[], None] = staticmethod(lambda: None)

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
        self._unusable: dict[tuple[str, ...], str] = {}
        self._expiry_log = ExpiryLog(Reminders(self._log, now))
        self._polling = LoopingCall(self.check_files)
        self._polling.clock = clock
        self._hosts, self._self_signed = hosts, self._sign(hosts)
        self.reconfigure(self.prepare(files, hosts))

    def prepare(self, files: Iterable[CertificateFiles], hosts: tuple[str, ...]) -> PreparedCertificates:
        """Read, in this thread, every pair of `files` that has changed; nothing changes before `reconfigure`.

        For a pair that cannot be used, the certificate in service stays. `hosts` are the names of the self-signed
        certificate.
        """
        self_signed = self._self_signed if hosts == self._hosts else self._sign(hosts)
        return PreparedCertificates(hosts, self_signed, self._files.prepare(files))

    def reconfigure(self, prepared: PreparedCertificates) -> None:
        """Apply new settings. It cannot fail."""
        self._hosts, self._self_signed = prepared.hosts, prepared.self_signed
        self._files.reconfigure(prepared.files)
        self._rebuild_map()

    def replace_obtained(self, obtained: Mapping[tuple[str, ...], ServerCertificate]) -> tuple[str, ...]:
        """Replace the certificates that ACME obtained before; the keys are the names of each order.

        Return a message for each certificate that cannot be used; the previous one of that order stays in service.
        Expired certificates are accepted, because there may be nothing better.
        """
        errors, replaced = {}, {}
        for names, certificate in obtained.items():
            active = self._obtained.get(names)
            try:
                if active is None or active.certificate.fingerprint != certificate.fingerprint:
                    active = self._handshakes.activate(certificate, ACME)
                    self._log.info("serving the certificate for {certificate}", certificate=str(active))
            except UnusableError as error:
                errors[names] = str(error)
            if active is not None:
                replaced[names] = active
        self._obtained, self._unusable = replaced, errors
        self._rebuild_map()
        return tuple(f"{', '.join(names)}: {error}" for names, error in errors.items())

    def startService(self) -> None:
        Service.startService(self)
        self._polling.start(POLL_INTERVAL, now=False)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._polling.running:
            self._polling.stop()

    def check_files(self) -> Deferred[None]:
        """Read the files that have changed since the last check."""
        pairs = self._files.pairs

        def apply(readings: Readings) -> None:
            self._files.apply(readings, pairs)
            self._rebuild_if_changed(bool(readings))
            if readings:
                self.files_changed()

        checking = self._in_thread(lambda: self._files.read_changed(pairs)).addCallback(apply)
        return checking.addErrback(
            lambda failure: self._log.failure("checking the certificate files failed, retrying", failure)
        )

    @property
    def problems(self) -> int:
        """How often files became unusable since the start."""
        return self._files.problems

    def new_connection(self) -> SSL.Connection:
        """Return a connection that starts with the default certificate."""
        return self._handshakes.new_connection()

    def choose(self, name: str | None) -> ActiveCertificate:
        """Return the certificate for a client that asks for `name`."""
        return self._handshakes.certificates.choose(None if name is None else name.encode("ascii"))

    def status(self, orders: Iterable[OrderStatus] = ()) -> Iterator[CertificateReport]:
        """Return the status of each certificate in service or missing; `orders` add what ACME knows, by names."""
        now = self._now()
        for pair in self._files.pairs:
            yield evolve(_report(pair.active, str(pair.files.chain), now), error=pair.problem)
        by_names = {order.names: order for order in orders}
        for names in dict.fromkeys([*self._obtained, *by_names]):
            order = by_names.get(names)
            report = _report(self._obtained.get(names), ACME, now, order)
            error = (order.error if order else None) or self._unusable.get(names)
            yield evolve(report, names=names, order=order, error=error)
        if self._self_signed in self._handshakes.certificates:
            yield _report(self._self_signed, SELF_SIGNED, now)

    def document(self, orders: Iterable[OrderStatus] = ()) -> list[dict[str, Any]]:
        """Return `status` as JSON objects."""
        return [report.document() for report in self.status(orders)]

    def _sign(self, hosts: tuple[str, ...]) -> ActiveCertificate:
        return self._handshakes.activate(selfsigned.make(hosts, self._now()), SELF_SIGNED)

    def _rebuild_if_changed(self, changed: bool) -> None:
        """Rebuild the map if files have changed or a certificate has expired."""
        if self._expiry_log.check(self._files.active(), self._obtained.values(), self._now()) or changed:
            self._rebuild_map()

    def _rebuild_map(self) -> None:
        """Replace the map: valid certificates first, then in the order of the settings, the self-signed one last."""
        now = self._now()
        certificates = [*self._files.active(), *self._obtained.values()]
        valid = [certificate for certificate in certificates if not certificate.has_expired(now)]
        expired = [certificate for certificate in certificates if certificate.has_expired(now)]
        self._handshakes.certificates = SniMap(valid, [*expired, self._self_signed])
        self.has_addresses = self._handshakes.certificates.has_addresses


def _report(
    active: ActiveCertificate | None, source: str, now: float, order: OrderStatus | None = None
) -> CertificateReport:
    return CertificateReport((), source) if active is None else certificate_status.report(active, now, order)
