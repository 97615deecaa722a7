"""The agenda: when each certificate is ordered, and at which CA. Its times are by this machine's clock."""

from collections.abc import Callable, Sequence

from attrs import frozen

from facaded.tls import overdue
from facaded.tls.acme import ledger, schedule
from facaded.tls.acme.ca_clocks import CaClocks
from facaded.tls.acme.ledger import CaLedger, Request, Terms
from facaded.tls.acme.ledgers import Ledgers
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.acme.schedule import DAY
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.window import Window

Authorities = Sequence[CertificateAuthority]
"""The CAs of the settings, in order of preference."""


@frozen
class Agenda:
    """Decides by the ledgers. `wall` returns seconds since the epoch."""

    ledgers: Ledgers
    clocks: CaClocks
    wall: Callable[[], float]

    def due_at(self, entry: ManagedCertificate, cas: Authorities) -> float:
        """Return when the next attempt starts, at the CA that may be asked first."""
        return min((self.opens_at(entry, ca, cas) for ca in cas), default=self.wall() + DAY)

    def opens_at(
        self, entry: ManagedCertificate, ca: CertificateAuthority, cas: Authorities, book: CaLedger | None = None
    ) -> float:
        """Return when an attempt at one CA starts; `book` is its ledger, if not the present one."""
        directory = ca.directory
        book = book or self.ledgers.of(directory)
        available = ledger.available_at(book, entry.names, self._terms(entry, ca), self.clocks.now(directory))
        return max(self._wanted_at(entry, directory, cas), self.clocks.to_wall(directory, available))

    def may_validate(self, entry: ManagedCertificate, ca: CertificateAuthority, book: CaLedger) -> bool:
        """Return whether the limit of failed authorizations in this ledger allows to validate the names now."""
        now = self.clocks.now(ca.directory)
        return ledger.validation_at(book, entry.names, self._terms(entry, ca), now) <= now

    def renewal(self, entry: ManagedCertificate) -> float:
        """Return when the renewal is due, whichever CA has issued the certificate; 0 without one."""
        issuer = self.ledgers.issuer(entry.names)
        obtained = self.ledgers.of(issuer).history(entry.names).obtained if issuer else None
        return self.clocks.to_wall(issuer, entry.scheduled(obtained)) if entry.certificate else 0.0

    def is_due(self, entry: ManagedCertificate) -> bool:
        """Return whether there is no certificate, or its renewal is due."""
        return self.renewal(entry) <= self.wall()

    def is_wanted(self, entry: ManagedCertificate, cas: Authorities) -> bool:
        """Return whether an order is wanted, even if no operator wants one."""
        in_flight = any(ca.directory in entry.in_flight for ca in cas)
        return self.is_due(entry) or in_flight or self._has_left(entry, cas)

    def validity(self, entry: ManagedCertificate) -> Window | None:
        """Return the validity of the certificate by this machine's clock, None without one."""
        if entry.certificate is None:
            return None
        offset = self.clocks.offset(self.ledgers.issuer(entry.names))
        return Window(entry.certificate.validity.start - offset, entry.certificate.validity.end - offset)

    def longest_wait(self, entry: ManagedCertificate) -> float:
        """Return the most seconds that a wait of our own may take."""
        return schedule.longest_wait(self.validity(entry), self.wall())

    def request(self, entry: ManagedCertificate, request: Request, cas: Authorities) -> str | None:
        """Record what an operator wants. Return a message if no CA may be asked now."""
        previous, entry.request = entry.request, request
        refusals = []
        for ca in cas:
            book, now = self.ledgers.of(ca.directory), self.clocks.now(ca.directory)
            refusals.append(ledger.refusal(book, entry.names, self._terms(entry, ca), now))
        if refusals and all(refusals):
            entry.request = previous
            return f"{entry}: {refusals[0]}"
        return None

    def attempts(self, entry: ManagedCertificate, cas: Authorities) -> int:
        """Return the number of failed attempts in a row."""
        return max((self.ledgers.of(ca.directory).history(entry.names).attempts for ca in cas), default=0)

    def status(self, entry: ManagedCertificate, cas: Authorities) -> OrderStatus:
        """Return the status of a certificate. The failure of a renewal by hand is shown for a day."""
        certificate, validity = entry.certificate, self.validity(entry)
        window = entry.suggestion.window if entry.suggestion else None
        error, error_at = self._last_error(entry, cas)
        due = self.renewal(entry)
        return OrderStatus(
            names=entry.names,
            issuer=certificate.issuer if certificate else None,
            not_after=validity.end if validity else None,
            due=due if validity else None,
            next_renewal=max(self.due_at(entry, cas), self.wall()),
            overdue=validity is not None and self.wall() >= overdue.overdue_time(validity, due),
            suggested_from=window.start if window else None,
            suggested_until=window.end if window else None,
            suggested_because=entry.suggestion.explanation if entry.suggestion else None,
            error=entry.blocked_by or error,
            error_at=error_at,
            attempts=self.attempts(entry, cas),
            ca=self.ledgers.issuer(entry.names),
        )

    def _last_error(self, entry: ManagedCertificate, cas: Authorities) -> tuple[str | None, float | None]:
        """Return the last error at each CA as one text, and when the latest one was."""
        errors: dict[str, float] = {}
        for ca in cas:
            history = self.ledgers.of(ca.directory).history(entry.names)
            at = self.clocks.to_wall(ca.directory, history.error_at or 0.0)
            if history.error is not None and (self.is_wanted(entry, cas) or self.wall() - at < DAY):
                errors[history.error] = at
        return ("; ".join(errors), max(errors.values())) if errors else (None, None)

    def _terms(self, entry: ManagedCertificate, ca: CertificateAuthority) -> Terms:
        is_in_flight = ca.directory in entry.in_flight
        return Terms(self.longest_wait(entry), self.is_due(entry), entry.request, is_in_flight, ca.is_public)

    def _wanted_at(self, entry: ManagedCertificate, ca: str, cas: Authorities) -> float:
        """Return when an order at a CA is wanted: now (0) too if it has one already, or an operator wants one."""
        if entry.request is not Request.NONE or ca in entry.in_flight or self._has_left(entry, cas):
            return 0.0
        return self.renewal(entry)

    def _has_left(self, entry: ManagedCertificate, cas: Authorities) -> bool:
        """Return whether the CA that issued the certificate is not in the settings any more: it may be for tests."""
        issuer = self.ledgers.issuer(entry.names)
        return entry.certificate is not None and issuer is not None and all(ca.directory != issuer for ca in cas)
