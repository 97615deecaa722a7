"""The log of renewals that are overdue: CAs send no mail any more when a certificate expires."""

from facaded.tls import overdue
from facaded.tls.acme.inventory import Inventory
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.reminders import Reminders
from facaded.tls.window import format_time


class OverdueRenewals:
    """Logs each day that a renewal is overdue. A certificate that has expired is logged by `ExpiryLog`."""

    def __init__(self, inventory: Inventory, reminders: Reminders) -> None:
        self._inventory = inventory
        self._reminders = reminders

    def check(self, entry: ManagedCertificate) -> None:
        """Log that the renewal of a certificate is overdue, if that is news."""
        agenda = self._inventory.agenda
        validity, now = agenda.validity(entry), agenda.wall()
        severity = overdue.severity(validity, agenda.renewal(entry), now) if validity else None
        if validity is None or severity is None or validity.end <= now:
            self._reminders.forget(entry.names)
            return
        status = agenda.status(entry, self._inventory.settings.cas)
        reason = f": {status.error}" if status.error else ""
        text = f"{entry}: the certificate expires {format_time(validity.end)} and its renewal is overdue{reason}"
        self._reminders.remind(entry.names, severity, text)
