"""The records of managed certificates on the disk: reading, writing, and what could not be written yet."""

from contextlib import AbstractContextManager

from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls.acme.ledgers import Ledgers
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.schedule import OrderFailure
from facaded.tls.acme.store import AcmeStore

UNREAD = object()
"""The stamp of a certificate whose file could not be read."""


class CertificateRecords:
    """Reads and writes managed certificates and the ledgers. Another daemon may use the same `store`."""

    _log = Logger()

    def __init__(self, store: AcmeStore, ledgers: Ledgers) -> None:
        self._store = store
        self._ledgers = ledgers

    def locked(self) -> AbstractContextManager[bool]:
        """Hold the lock; yields whether this process got it and may order. Raises StoreError."""
        return self._store.locked()

    def read(self, entry: ManagedCertificate, now: float) -> bool:
        """Read the record; return whether the certificate has changed. Raises StoreError."""
        stamp = self._store.stamp(entry.names)
        certificate = self._store.certificate(entry.names)
        self.read_in_flight(entry)
        entry.stamp = stamp
        if certificate is None or certificate == entry.certificate:
            return False
        entry.replace(certificate, now)
        return True

    def read_in_flight(self, entry: ManagedCertificate) -> None:
        """Read which CAs have an order for the certificate. Raises StoreError."""
        entry.in_flight = self._store.orders.in_flight(entry.names)

    def read_shared(self, entry: ManagedCertificate) -> None:
        """Read what another process may have written before this one got the lock. Raises StoreError."""
        self._ledgers.read()
        self.read_in_flight(entry)

    def is_replaced(self, entry: ManagedCertificate) -> bool:
        """Return whether another daemon has stored a certificate."""
        return self._store.stamp(entry.names) != entry.stamp

    def refresh(self, entry: ManagedCertificate, now: float) -> bool:
        """Read what another daemon has changed, or write what is unsaved; return whether the certificate has changed.

        If the record cannot be read, the next check tries again; until then the one in memory is valid.
        """
        changed = False
        try:
            if entry.unsaved or self._ledgers.unsaved:
                with self._store.locked() as has_lock:
                    if has_lock:
                        self.save(entry)
                        entry.blocked_by = None
            elif self.is_replaced(entry):
                changed = self.read(entry, now)
                self._ledgers.read()
                entry.blocked_by = None
                if changed:
                    self._log.info("{names}: another daemon has renewed the certificate", names=str(entry))
        except StoreError as error:
            entry.stamp = entry.stamp if entry.unsaved else UNREAD
            self.block(entry, str(error))
        return changed

    def save(self, entry: ManagedCertificate) -> None:
        """Write what is unsaved. Raises StoreError.

        What has happened is in memory first, so that it is not lost if it cannot be written. An order in flight remains
        until its certificate is on the disk.
        """
        if entry.unsaved and entry.certificate is not None:
            self._store.save_certificate(entry.names, entry.certificate)
            entry.stamp, entry.unsaved = self._store.stamp(entry.names), False
        self._ledgers.save()
        self._discard_finished(entry)

    def conclude(self, entry: ManagedCertificate, failure: OrderFailure) -> None:
        """Write what is unsaved after a failure, and then remove its order if that is final. Raises StoreError.

        In the other order, a process that is killed in between would not count the failure.
        """
        self._ledgers.save()
        if failure.is_final:
            self._store.orders.discard(failure.ca, entry.names)

    def block(
        self, entry: ManagedCertificate, reason: str, kind: EventKind | None = EventKind.CERTIFICATE_TROUBLE
    ) -> None:
        """Record why no order can start. Every check finds it again, so it is logged once.

        `kind` is None if the reason is no trouble.
        """
        if reason != entry.blocked_by:
            entry.blocked_by = reason
            self._log.warn("{names}: {reason}", names=str(entry), reason=reason, event_kind=kind)

    def _discard_finished(self, entry: ManagedCertificate) -> None:
        """Remove the orders whose certificate is stored."""
        for ca in entry.in_flight:
            order = self._store.orders.find(ca, entry.names)
            if order and entry.certificate and order.key.public_key() == entry.certificate.key.public_key():
                self._store.orders.discard(ca, entry.names)
                entry.in_flight -= {ca}
