"""The inventory: the certificates that the settings ask for, their current versions, and when each is due."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from attrs import define, frozen

from facaded.tls.acme import schedule
from facaded.tls.acme.managed_certificate import ManagedCertificate, Names
from facaded.tls.acme.records import CertificateRecords
from facaded.tls.acme.schedule import OrderFailure, OrderProgress
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.server_certificate import ServerCertificate


@frozen
class PreparedInventory:
    """The inventory for new settings. Entries that exist already are the same objects."""

    settings: AcmeSettings
    entries: tuple[tuple[Names, ManagedCertificate], ...]


@define
class FailureCount:
    """How many attempts to obtain a certificate have failed since the start."""

    count: int = 0


class Inventory:
    """All certificates that `settings` ask for. `changed` is called when `current` has changed.

    `wall` returns seconds since the epoch, `random` spreads renewals and waits. Raises StoreError if the directory
    cannot be used.
    """

    def __init__(
        self,
        records: CertificateRecords,
        wall: Callable[[], float],
        random: Random,
        settings: AcmeSettings,
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.failures = FailureCount()
        self._records = records
        self._wall = wall
        self._random = random
        self._changed = changed
        self._entries: list[ManagedCertificate] = []
        self.reconfigure(self.prepare(settings))

    def __iter__(self) -> Iterator[ManagedCertificate]:
        return iter(self._entries)

    def prepare(self, settings: AcmeSettings) -> PreparedInventory:
        """Read the certificates of new settings that are not in the inventory; nothing changes. Raises StoreError."""
        known = {frozenset(entry.names): entry for entry in self._entries}
        domains = dict.fromkeys(settings.domains)
        return PreparedInventory(
            settings, tuple((names, known.get(frozenset(names)) or self._read(names)) for names in domains)
        )

    def reconfigure(self, prepared: PreparedInventory) -> None:
        """Apply new settings. It keeps the certificates that are still in them."""
        self.settings = prepared.settings
        for names, entry in prepared.entries:
            entry.names = names  # the settings may list the same names in another order
        self._entries = [entry for _, entry in prepared.entries]

    def current(self) -> Mapping[Names, ServerCertificate]:
        """Return the certificates by the names in the settings; they may have expired."""
        return {entry.names: entry.certificate for entry in self._entries if entry.certificate is not None}

    def due_at(self, entry: ManagedCertificate) -> float:
        """Return when the next attempt for a certificate starts."""
        return entry.due_at(self.settings.directories, self._wall())

    def refresh(self, entry: ManagedCertificate) -> None:
        """Read what another daemon may have changed, or write what could not be written before."""
        if self._records.refresh(entry, self._wall()):
            self._changed()

    def receive(
        self, entry: ManagedCertificate, certificate: ServerCertificate, ca: str, before: OrderProgress
    ) -> None:
        """Record a certificate that a CA has issued. Raises StoreError if it cannot be stored; it is used anyway."""
        now = self._wall()
        extra = entry.scheduled() > now
        entry.replace(certificate, now)
        entry.chance = self._random.random()
        entry.progress = schedule.succeed(before, ca, now, extra)
        entry.unsaved_certificate = entry.unsaved_progress = True
        try:
            self._records.save(entry)
        finally:  # the certificate is valid even if it cannot be stored
            self._changed()

    def fail(self, entry: ManagedCertificate, before: OrderProgress, failures: Sequence[OrderFailure]) -> None:
        """Record that an attempt has failed at each CA that was asked, without saving it."""
        self.failures.count += 1
        entry.progress = schedule.fail(before, failures, self._wall(), self._random.random())
        entry.unsaved_progress = True

    def _read(self, names: Names) -> ManagedCertificate:
        entry = ManagedCertificate(names, self._random.random(), OrderProgress())
        self._records.read(entry, self._wall())
        for other in self._entries:  # a CA counts failures by name, whichever certificate has the name
            if set(names) & set(other.names) and other.progress.failed:
                entry.progress, entry.unsaved_progress = schedule.share_failures(entry.progress, other.progress), True
        return entry
