"""The log of certificates in service that have expired, or that nobody renews."""

from collections.abc import Iterable

from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls import overdue
from facaded.tls.handshakes import ActiveCertificate
from facaded.tls.reminders import Reminders
from facaded.tls.window import format_time


class ExpiryLog:
    """Logs once that a certificate has expired, and each day that one from files will soon.

    Renewals over ACME that are overdue are logged by `facaded.tls.acme.overdue_renewals`.
    """

    _log = Logger()

    def __init__(self, reminders: Reminders) -> None:
        self._reminders = reminders
        self._expired: frozenset[ActiveCertificate] = frozenset()

    def check(self, from_files: Iterable[ActiveCertificate], obtained: Iterable[ActiveCertificate], now: float) -> bool:
        """Log what is news `now`, in seconds since the epoch; return whether other certificates have expired."""
        from_files = tuple(from_files)
        expired = frozenset(one for one in (*from_files, *obtained) if one.has_expired(now))
        for certificate in expired - self._expired:
            self._log.error(
                "the certificate for {certificate} has expired: renew it",
                certificate=str(certificate),
                event_kind=EventKind.CERTIFICATE_TROUBLE,
            )
        for certificate in from_files:
            self._remind(certificate, now)
        changed = expired != self._expired
        self._expired = expired
        return changed

    def _remind(self, certificate: ActiveCertificate, now: float) -> None:
        validity = certificate.certificate.validity
        severity = overdue.severity(validity, None, now)
        if severity is None or certificate.has_expired(now):
            self._reminders.forget(certificate.source)
            return
        end = format_time(validity.end)
        text = f"the certificate for {certificate} expires {end} and should have been renewed by now: renew it"
        self._reminders.remind(certificate.source, severity, text)
