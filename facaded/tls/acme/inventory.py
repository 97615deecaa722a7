"""The inventory: the certificates that the settings ask for, their current versions, and when each is due."""

from collections.abc import Callable, Iterator, Mapping
from random import Random

from attrs import define, frozen

from facaded.tls.acme import ledger
from facaded.tls.acme.agenda import Agenda
from facaded.tls.acme.ledger import Request, order_key
from facaded.tls.acme.managed_certificate import ManagedCertificate, Names
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.acme.records import CertificateRecords
from facaded.tls.acme.schedule import OrderFailure
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

    `random` spreads renewals and waits. Raises StoreError if the directory cannot be used.
    """

    def __init__(
        self,
        records: CertificateRecords,
        agenda: Agenda,
        random: Random,
        settings: AcmeSettings,
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.failures = FailureCount()
        self.agenda = agenda
        self._records = records
        self._random = random
        self._changed = changed
        self._entries: list[ManagedCertificate] = []
        agenda.ledgers.read()
        self.reconfigure(self.prepare(settings))

    def __iter__(self) -> Iterator[ManagedCertificate]:
        return iter(self._entries)

    def prepare(self, settings: AcmeSettings) -> PreparedInventory:
        """Read the certificates of new settings that are not in the inventory; nothing changes. Raises StoreError."""
        known = {frozenset(entry.names): entry for entry in self._entries}
        domains = dict.fromkeys(settings.domains)
        return PreparedInventory(
            settings, tuple((names, known.get(frozenset(names)) or self._read(names, settings)) for names in domains)
        )

    def reconfigure(self, prepared: PreparedInventory) -> None:
        """Apply new settings. It keeps the certificates that are still in them."""
        self.settings = prepared.settings
        for names, entry in prepared.entries:
            entry.names = names  # the settings may list the same names in another order
        self._entries = [entry for _, entry in prepared.entries]
        self.agenda.ledgers.configured = self.keys

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the certificates in the ledgers."""
        return frozenset(order_key(entry.names) for entry in self._entries)

    def current(self) -> Mapping[Names, ServerCertificate]:
        """Return the certificates by the names in the settings; they may have expired."""
        return {entry.names: entry.certificate for entry in self._entries if entry.certificate is not None}

    def due_at(self, entry: ManagedCertificate) -> float:
        """Return when the next attempt for a certificate starts."""
        return self.agenda.due_at(entry, self.settings.cas)

    def status(self) -> tuple[OrderStatus, ...]:
        """Return the status of each certificate."""
        return tuple(self.agenda.status(entry, self.settings.cas) for entry in self._entries)

    def request(self, entry: ManagedCertificate, request: Request) -> str | None:
        """Record what an operator wants. Return a message if no CA may be asked now."""
        return self.agenda.request(entry, request, self.settings.cas)

    def refresh(self, entry: ManagedCertificate) -> None:
        """Read what another daemon may have changed, or write what could not be written before."""
        if self._records.refresh(entry, self.agenda.wall()):
            self._changed()

    def follow(self, entry: ManagedCertificate) -> None:
        """Read a certificate that another daemon has stored."""
        if not entry.unsaved and self._records.is_replaced(entry):
            self.refresh(entry)

    def receive(self, entry: ManagedCertificate, certificate: ServerCertificate, ca: str) -> None:
        """Record a certificate that a CA has issued. Raises StoreError if it cannot be stored; it is used anyway."""
        extra = not self.agenda.is_due(entry) and entry.certificate != certificate
        entry.replace(certificate, self.agenda.wall())
        entry.chance = self._random.random()
        entry.unsaved = True
        ledgers, now = self.agenda.ledgers, self.agenda.clocks.now(ca)
        for book in ledgers:
            ledgers.note(ledger.forgive(book, entry.names))
        ledgers.note(ledger.succeed(ledgers.of(ca), entry.names, now, extra))
        try:
            self._records.read_in_flight(entry)
            self._records.save(entry)
        finally:  # the certificate is valid even if it cannot be stored
            self._changed()

    def charge(self, entry: ManagedCertificate, failure: OrderFailure) -> None:
        """Count a failure against the limits of its CA, without saving it; the attempt goes on."""
        ledgers, now = self.agenda.ledgers, self.agenda.clocks.now(failure.ca)
        ledgers.note(ledger.charge(ledgers.of(failure.ca), entry.names, failure, now))

    def fail(self, entry: ManagedCertificate, failure: OrderFailure) -> None:
        """Record that an attempt has failed at a CA, without saving it."""
        ledgers, now = self.agenda.ledgers, self.agenda.clocks.now(failure.ca)
        if failure.is_final:  # or else the order itself would be a reason to go on
            entry.in_flight -= {failure.ca}
        is_wanted = self.agenda.is_wanted(entry, self.settings.cas)
        book = ledger.fail(ledgers.of(failure.ca), entry.names, failure, now, self._random.random(), is_wanted)
        ledgers.note(book)

    def _read(self, names: Names, settings: AcmeSettings) -> ManagedCertificate:
        entry = ManagedCertificate(names, self._random.random())
        self._records.read(entry, self.agenda.wall())
        self.agenda.ledgers.migrate(names, settings.directories)
        return entry
