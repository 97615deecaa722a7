"""Names that have left the settings: their keys are removed when nobody needs them any more."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from facaded.tls.acme import ledger
from facaded.tls.acme.ca_clocks import CaClocks
from facaded.tls.acme.challenge_files import ChallengeFiles
from facaded.tls.acme.ledger import order_key
from facaded.tls.acme.ledgers import Ledgers
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.schedule import DAY, MINUTE, WEEK
from facaded.tls.acme.store import AcmeStore, read_pair

CHECK_INTERVAL = DAY
"""Seconds between two checks of the directory."""

RETRY = MINUTE
"""Seconds to the next check if another daemon has the lock."""

STAY = WEEK
"""Seconds for which the certificate of a name that has left is stored: the name may return."""


class LeftNames:
    """Removes certificates that no settings ask for: after a week, or once they have expired.

    So the ledgers, which keep their history, say once a day which certificates the settings have. `wall` returns
    seconds since the epoch. `challenges` is None unless other daemons share the directory.
    """

    _log = Logger()

    def __init__(
        self,
        store: AcmeStore,
        ledgers: Ledgers,
        clocks: CaClocks,
        wall: Callable[[], float],
        challenges: ChallengeFiles | None = None,
    ) -> None:
        self._clocks = clocks
        self._challenges = challenges
        self._store = store
        self._ledgers = ledgers
        self._wall = wall
        self._checked = 0.0

    def remove(self, configured: frozenset[str]) -> None:
        """Check the directory, once a day; `configured` are the keys of the certificates in the settings."""
        now = self._wall()
        if self._checked <= now < self._checked + CHECK_INTERVAL:
            return
        self._checked = now
        if self._challenges is not None:
            self._challenges.tidy()
        with contextlib.suppress(StoreError), self._store.locked() as has_lock:  # the status says why for each order
            if not has_lock:
                self._checked = now - CHECK_INTERVAL + RETRY
                return
            self._ledgers.read()
            self._mark(configured)
            self._remove_left(configured, now)

    def _mark(self, configured: frozenset[str]) -> None:
        """Write which certificates the settings have now."""
        for book in self._ledgers:
            for key in configured & {*book.orders}:
                book = ledger.want(book, key.split(), self._clocks.now(book.ca))
            self._ledgers.note(book)
        self._ledgers.save()

    def _remove_left(self, configured: frozenset[str], now: float) -> None:
        for path in self._store.files.matching(self._store.files.directory / "certificates", "*/certificate.pem"):
            certificate = self._store.files.read(path, read_pair)
            if certificate is None or path.parent != self._store.directory_of(certificate.names):
                continue
            key = order_key(certificate.names)
            wanted = self._ledgers.wanted(key)
            has_left = wanted > 0 and wanted + STAY < now
            if key not in configured and (certificate.validity.end < now or has_left):
                self._remove_files(path)
                self._log.info("{names}: not in the settings any more: key and certificate removed", names=key)

    def _remove_files(self, certificate: Path) -> None:
        files = self._store.files
        for pattern in ("order_*.json", "progress.json", "certificate.pem"):
            for path in files.matching(certificate.parent, pattern):
                files.remove(path)
