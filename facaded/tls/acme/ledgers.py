"""The ledgers of all CAs in memory: read from the directory, and written back when they have changed."""

from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve

from facaded.tls.acme import earlier_progress, ledger
from facaded.tls.acme.ca_clocks import CaClocks
from facaded.tls.acme.ledger import CaLedger, order_key
from facaded.tls.acme.store import AcmeStore


class Ledgers:
    """The ledger of each CA, by its directory URL. What has happened is in memory first, and may be `unsaved`.

    `configured` has the keys of the certificates in the settings, whose history is never dropped.
    """

    def __init__(self, store: AcmeStore, clocks: CaClocks) -> None:
        self.configured: frozenset[str] = frozenset()
        self._store = store
        self._clocks = clocks
        self._ledgers: dict[str, CaLedger] = {}
        self._unsaved: set[str] = set()
        self._migrated: dict[str, Sequence[str]] = {}

    def __iter__(self) -> Iterator[CaLedger]:
        return iter(tuple(self._ledgers.values()))

    @property
    def unsaved(self) -> bool:
        """Whether anything is only in memory."""
        return bool(self._unsaved)

    def of(self, ca: str) -> CaLedger:
        """Return the ledger of a CA."""
        return self._ledgers.get(ca) or CaLedger(ca=ca)

    def read(self) -> None:
        """Read what another process has changed; what is unsaved stays. Raises StoreError."""
        for stored in self._store.ledgers():
            if stored.ca not in self._unsaved:
                self._ledgers[stored.ca] = stored
                self._clocks.recall(stored.ca, stored.offset)

    def note(self, changed: CaLedger) -> None:
        """Replace the ledger of a CA in memory."""
        if changed != self.of(changed.ca):
            self._ledgers[changed.ca] = changed
            self._unsaved.add(changed.ca)

    def save(self) -> None:
        """Write what is unsaved. Raises StoreError."""
        for ca in tuple(self._unsaved):
            offset = self._clocks.offset(ca)
            current = evolve(ledger.prune(self.of(ca), self.configured), offset=offset)
            self._store.save_ledger(current)
            self._ledgers[ca] = current
            self._unsaved.discard(ca)
        for key, names in tuple(self._migrated.items()):
            self._store.discard_earlier_progress(names)
            del self._migrated[key]

    def save_one(self, changed: CaLedger) -> None:
        """Write what is about to happen; it must not happen if this raises StoreError."""
        self._store.save_ledger(changed)
        self._ledgers[changed.ca] = changed
        self._unsaved.discard(changed.ca)

    def migrate(self, names: Sequence[str], cas: Iterable[str]) -> None:
        """Enter what version 0.1.0 stored of a certificate that no ledger knows. Raises StoreError."""
        key = order_key(names)
        if key in self._migrated or any(key in known.orders for known in self):
            return
        progress = self._store.earlier_progress(names)
        if progress is None:
            return
        for ca in dict.fromkeys((*cas, *progress.cas)):
            self.note(earlier_progress.enter(progress, self.of(ca), names, self._clocks.now(ca)))
        self._migrated[key] = names

    def issuer(self, names: Sequence[str]) -> str | None:
        """Return the CA that issued the last certificate with these names; None if it is unknown."""
        known = [(history.obtained, book.ca) for book in self if (history := book.history(names)).obtained is not None]
        return max(known)[1] if known else None

    def wanted(self, key: str) -> float:
        """Return when the settings last had a certificate, by its key; 0 if it is unknown."""
        return max((book.orders[key].wanted for book in self if key in book.orders), default=0.0)
