"""The records of managed certificates on the disk: reading, writing, and what could not be written yet."""

from contextlib import AbstractContextManager

from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.acme.store import AcmeStore, StoreError

UNREAD = object()
"""The stamp of a certificate whose file could not be read."""


class CertificateRecords:
    """Reads and writes managed certificates. Another daemon may use the same `store`."""

    _log = Logger()

    def __init__(self, store: AcmeStore) -> None:
        self._store = store

    def locked(self) -> AbstractContextManager[bool]:
        """Hold the lock; yields whether this process got it and may order. Raises StoreError."""
        return self._store.locked()

    def read(self, entry: ManagedCertificate, now: float) -> bool:
        """Read the record; return whether the certificate has changed. Raises StoreError."""
        progress, stamp = self._store.progress(entry.names), self._store.stamp(entry.names)
        certificate = self._store.certificate(entry.names)
        entry.progress, entry.stamp = progress, stamp
        if certificate is None or certificate == entry.certificate:
            return False
        entry.replace(certificate, now)
        return True

    def read_progress(self, entry: ManagedCertificate) -> None:
        """Read the progress. Raises StoreError."""
        entry.progress = self._store.progress(entry.names)

    def refresh(self, entry: ManagedCertificate, now: float) -> bool:
        """Read what another daemon has changed, or write what is unsaved; return whether the certificate has changed.

        If the record cannot be read, the next check tries again; until then the one in memory is valid.
        """
        changed = False
        try:
            if entry.unsaved_certificate or entry.unsaved_progress:
                with self._store.locked() as has_lock:
                    if has_lock:
                        self.save(entry)
                        entry.blocked_by = None
            elif self._store.stamp(entry.names) != entry.stamp:
                changed = self.read(entry, now)
                entry.blocked_by = None
                if changed:
                    self._log.info("{names}: another daemon has renewed the certificate", names=str(entry))
        except StoreError as error:
            entry.stamp = entry.stamp if entry.unsaved_certificate else UNREAD
            self.block(entry, str(error))
        return changed

    def save(self, entry: ManagedCertificate) -> None:
        """Write what is unsaved. Raises StoreError.

        What has happened is in memory first, so that it is not lost if it cannot be written.
        """
        if entry.unsaved_certificate and entry.certificate is not None:
            self._store.save_certificate(entry.names, entry.certificate)
            entry.stamp, entry.unsaved_certificate = self._store.stamp(entry.names), False
        if entry.unsaved_progress:
            self._store.save_progress(entry.names, entry.progress)
            entry.unsaved_progress = False

    def save_progress(self, entry: ManagedCertificate, progress: OrderProgress) -> None:
        """Write what is about to happen; it must not happen if this raises StoreError."""
        self._store.save_progress(entry.names, progress)
        entry.progress = progress

    def block(
        self, entry: ManagedCertificate, reason: str, kind: EventKind | None = EventKind.CERTIFICATE_TROUBLE
    ) -> None:
        """Record why no order can start. Every check finds it again, so it is logged once.

        `kind` is None if the reason is no trouble.
        """
        if reason != entry.blocked_by:
            entry.blocked_by = reason
            self._log.warn("{names}: {reason}", names=str(entry), reason=reason, event_kind=kind)
