"""What is on the disk of each certificate that is held, and what is not there yet."""

from contextlib import AbstractContextManager

from twisted.logger import Logger

from facaded.tls.acme.held_certificate import HeldCertificate
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.acme.store import AcmeStore, StoreError

UNREAD = object()
"""The stamp of a certificate whose file could not be read."""


class HeldRecords:
    """Reads and writes held certificates. Another daemon may have the same `store`."""

    _log = Logger()

    def __init__(self, store: AcmeStore) -> None:
        self._store = store

    def locked(self) -> AbstractContextManager[bool]:
        """Give whether this process alone may order. Raises StoreError."""
        return self._store.locked()

    def read(self, held: HeldCertificate, now: float) -> bool:
        """Take what is on the disk; say whether there is another certificate. Raises StoreError."""
        progress, stamp = self._store.progress(held.names), self._store.stamp(held.names)
        found = self._store.certificate(held.names)
        held.progress, held.stamp = progress, stamp
        if found is None or found == held.certificate:
            return False
        held.take(found, now)
        return True

    def read_progress(self, held: HeldCertificate) -> None:
        """Take the progress that is on the disk. Raises StoreError."""
        held.progress = self._store.progress(held.names)

    def refresh(self, held: HeldCertificate, now: float) -> bool:
        """Take what another daemon has obtained, or write what could not be written; say whether there is another one.

        What cannot be read now is read at the next look, and what is in memory holds until then.
        """
        changed = False
        try:
            if held.unsaved_certificate or held.unsaved_progress:
                with self._store.locked() as alone:
                    if alone:
                        self.save(held)
                        held.trouble = None
            elif self._store.stamp(held.names) != held.stamp:
                changed = self.read(held, now)
                held.trouble = None
                if changed:
                    self._log.info("{names}: another daemon has renewed the certificate", names=str(held))
        except StoreError as error:
            held.stamp = held.stamp if held.unsaved_certificate else UNREAD
            self.note_trouble(held, str(error))
        return changed

    def save(self, held: HeldCertificate) -> None:
        """Write what has come of an order and is not on the disk yet. Raises StoreError.

        It has happened, and so memory comes first.
        """
        if held.unsaved_certificate and held.certificate is not None:
            self._store.keep_certificate(held.names, held.certificate)
            held.stamp, held.unsaved_certificate = self._store.stamp(held.names), False
        if held.unsaved_progress:
            self._store.keep_progress(held.names, held.progress)
            held.unsaved_progress = False

    def keep(self, held: HeldCertificate, progress: OrderProgress) -> None:
        """Write what is about to happen; it must not happen if that cannot be done. Raises StoreError."""
        self._store.keep_progress(held.names, progress)
        held.progress = progress

    def note_trouble(self, held: HeldCertificate, words: str) -> None:
        """Note what keeps an order from beginning. It is looked at again and again, and logged once."""
        if words != held.trouble:
            held.trouble = words
            self._log.warn("{words}", words=f"{held}: {words}")
