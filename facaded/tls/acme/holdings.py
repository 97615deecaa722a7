"""What is held: the certificates that the settings want, what there is of each, and when each is due."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from attrs import frozen

from facaded.tls.acme import schedule
from facaded.tls.acme.held_certificate import HeldCertificate, Names
from facaded.tls.acme.records import HeldRecords
from facaded.tls.acme.schedule import Failure, OrderProgress
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.server_certificate import ServerCertificate


@frozen
class PreparedHoldings:
    """What will be held by other settings: those that are held already are among them, as they are."""

    settings: AcmeSettings
    held: tuple[tuple[Names, HeldCertificate], ...]


class Holdings:
    """Everything that `settings` want. `changed` is called when `current` has changed.

    `wall` gives seconds since the epoch, `random` spreads renewals and waits. Raises StoreError if the directory
    cannot be used.
    """

    def __init__(
        self,
        records: HeldRecords,
        wall: Callable[[], float],
        random: Random,
        settings: AcmeSettings,
        changed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._records = records
        self._wall = wall
        self._random = random
        self._changed = changed
        self._held: list[HeldCertificate] = []
        self.reconfigure(self.prepare(settings))

    def __iter__(self) -> Iterator[HeldCertificate]:
        return iter(self._held)

    def prepare(self, settings: AcmeSettings) -> PreparedHoldings:
        """Read what other settings want and is not held yet; nothing changes. Raises StoreError."""
        known = {frozenset(held.names): held for held in self._held}
        wanted = dict.fromkeys(settings.domains)
        return PreparedHoldings(
            settings, tuple((names, known.get(frozenset(names)) or self._find(names)) for names in wanted)
        )

    def reconfigure(self, prepared: PreparedHoldings) -> None:
        """Hold what was prepared. Certificates that are still wanted are kept."""
        self.settings = prepared.settings
        for names, held in prepared.held:
            held.names = names  # they may have another order
        self._held = [held for _, held in prepared.held]

    def current(self) -> Mapping[Names, ServerCertificate]:
        """Return the certificates that there are, by the names of the settings; one may have expired."""
        return {held.names: held.certificate for held in self._held if held.certificate is not None}

    def due_at(self, held: HeldCertificate) -> float:
        """Return when the next attempt for a certificate begins."""
        return held.due_at(self.settings.directories, self._wall())

    def refresh(self, held: HeldCertificate) -> None:
        """Read again what another daemon may have changed, or write what could not be written."""
        if self._records.refresh(held, self._wall()):
            self._changed()

    def receive(self, held: HeldCertificate, certificate: ServerCertificate, ca: str, before: OrderProgress) -> None:
        """A CA has issued a certificate. Raises StoreError if it cannot be kept; it is held all the same."""
        now = self._wall()
        extra = held.scheduled() > now
        held.take(certificate, now)
        held.chance = self._random.random()
        held.progress = schedule.succeeded(before, ca, now, extra)
        held.unsaved_certificate = held.unsaved_progress = True
        try:
            self._records.save(held)
        finally:  # it is good even if it cannot be kept
            self._changed()

    def fail(self, held: HeldCertificate, before: OrderProgress, failures: Sequence[Failure]) -> None:
        """An attempt has failed at each CA that was asked; it is not saved yet."""
        held.progress = schedule.failed(before, failures, self._wall(), self._random.random())
        held.unsaved_progress = True

    def _find(self, names: Names) -> HeldCertificate:
        held = HeldCertificate(names, self._random.random(), OrderProgress())
        self._records.read(held, self._wall())
        for other in self._held:  # a CA counts failures by name, in whatever certificate it is
            if set(names) & set(other.names) and other.progress.failed:
                held.progress, held.unsaved_progress = schedule.shared(held.progress, other.progress), True
        return held
