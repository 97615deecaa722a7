"""The ACME client service: it checks the certificates regularly, and orders those that are due, one after another.

It gives the pure schedule its time: `inventory` has the certificates, `attempts` orders those that are due, and
`renewal_information` asks the CAs when to renew.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from facaded.tls.acme import schedule
from facaded.tls.acme.agenda import Agenda
from facaded.tls.acme.attempts import Attempts, Round
from facaded.tls.acme.ca_clocks import CaClocks, ClockSteps
from facaded.tls.acme.ca_orders import CaOrders
from facaded.tls.acme.challenge_files import ChallengeFiles
from facaded.tls.acme.directory_watch import DirectoryWatch
from facaded.tls.acme.inventory import Inventory, PreparedInventory
from facaded.tls.acme.ledger import Request
from facaded.tls.acme.ledgers import Ledgers
from facaded.tls.acme.left_names import LeftNames
from facaded.tls.acme.managed_certificate import Names
from facaded.tls.acme.order_status import OrderStatus, Renewal
from facaded.tls.acme.overdue_renewals import OverdueRenewals
from facaded.tls.acme.records import CertificateRecords
from facaded.tls.acme.renewal_information import RenewalInformation
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import ChallengeResponder, OrderChallenges
from facaded.tls.reminders import Reminders
from facaded.tls.server_certificate import ServerCertificate

MAX_WAIT = 60.0
"""Seconds between checks of the wall clock and the disk: the machine may have been suspended, and another daemon may
have obtained a certificate."""

MIN_WAIT = 5.0
"""Seconds to the next check if an order is due but cannot start: another daemon is ordering, or the disk is full."""


class AcmeClient(Service):
    """Obtains and renews the certificates of `settings`, and stores them in `directory`.

    `random` provides the jitter. `responder` answers challenges while this service is running. `changed` is called
    when `current` has changed. `failures` counts failed attempts. If the directory is `shared` with other daemons, any
    of them answers challenges. Raises StoreError if the directory cannot be used.
    """

    _log = Logger()
    _next_round: IDelayedCall | None = None

    def __init__(
        self,
        network: CaNetwork,
        random: Random,
        settings: AcmeSettings,
        directory: Path,
        responder: ChallengeResponder,
        changed: Callable[[], None],
        shared: bool = False,
    ) -> None:
        files = ChallengeFiles(directory) if shared else None
        store, clocks = AcmeStore(directory, self._warn), CaClocks(network.wall)
        ledgers = Ledgers(store, clocks)
        records = CertificateRecords(store, ledgers)
        self._clock = network.clock
        self._wall = network.wall
        agenda = Agenda(ledgers, clocks, network.wall)
        self._inventory = Inventory(records, agenda, random, settings, changed)
        self.failures = self._inventory.failures
        orders = CaOrders(network, store, OrderChallenges(responder, files), clocks)
        self._attempts = Attempts(self._inventory, records, orders)
        self._steps = ClockSteps(network.wall, network.clock.seconds)
        self._renewal_information = RenewalInformation(self._inventory, network)
        self._overdue = OverdueRenewals(self._inventory, Reminders(self._log, network.wall))
        self._left_names = LeftNames(store, ledgers, clocks, network.wall, files)
        self._watch = DirectoryWatch(self._inventory, network.clock, shared)
        self._round = Round()
        self._working: Deferred[None] = succeed(None)

    def startService(self) -> None:
        Service.startService(self)
        self._watch.start()
        self._schedule_round(0)

    def stopService(self) -> Deferred[None]:
        """Abandon the order in progress; the next start begins it again."""
        Service.stopService(self)
        self._watch.stop()
        return self._abandon()

    def prepare(self, settings: AcmeSettings) -> PreparedInventory:
        """Read the certificates of new settings; nothing changes before `reconfigure`. Raises StoreError."""
        return self._inventory.prepare(settings)

    def reconfigure(self, prepared: PreparedInventory) -> None:
        """Apply new settings. It cannot fail, and keeps the certificates that are still in the settings."""
        if prepared.settings == self._inventory.settings:
            return
        self._inventory.reconfigure(prepared)
        abandoned = self._abandon()
        abandoned.addCallback(lambda _: self._schedule_round(0) if self.running else None)

    def current(self) -> Mapping[Names, ServerCertificate]:
        """Return the certificates by the names in the settings; they may have expired."""
        return self._inventory.current()

    def status(self) -> tuple[OrderStatus, ...]:
        """Return the status of each certificate."""
        return self._inventory.status()

    def renew(self, names: Sequence[str] = (), force: bool = False) -> Renewal:
        """Renew the certificates that have one of these names now, or all of them.

        With `force`, our own waits and limits do not matter, but a CA's 429 does.
        """
        request = Request.FORCED if force else Request.RENEWAL
        entries = [entry for entry in self._inventory if not names or {*names} & {*entry.names}]
        refusals = [refusal for entry in entries if (refusal := self._inventory.request(entry, request))]
        if self.running and self._working.called:
            self._schedule_round(0)
        return Renewal(tuple(entry.names for entry in entries), tuple(refusals))

    def _schedule_round(self, seconds: float) -> None:
        if self._next_round is not None and self._next_round.active():
            self._next_round.cancel()
        self._next_round = self._clock.callLater(seconds, self._start_round)

    def _start_round(self) -> None:
        self._round = Round()
        self._working = Deferred.fromCoroutine(self._run_round(self._round))
        self._working.addErrback(self._log_failure).addCallback(self._wait, self._working)

    async def _run_round(self, this_round: Round) -> None:
        """Update the renewal information first, because it decides what is due; then order what is due."""
        for entry in self._inventory:
            self._inventory.refresh(entry)
            self._overdue.check(entry)
        self._left_names.remove(self._inventory.keys)
        if self._steps.was_set_back():
            for entry in self._inventory:
                entry.information_at = 0.0  # it shows the clocks of the CAs
        for entry in self._inventory:
            if schedule.is_information_due(entry.information_at, self._wall()):
                await self._renewal_information.update(entry)
                this_round.check()
        for entry in sorted(self._inventory, key=self._inventory.due_at):
            if self._inventory.due_at(entry) <= self._wall():
                await self._attempts.attempt(entry, this_round)
                this_round.check()

    def _wait(self, _: object, working: Deferred[None]) -> None:
        """Schedule the next round for when something is due, or for the next check."""
        if not self.running or self._working is not working:
            return
        now = self._wall()
        times = [at for entry in self._inventory for at in (self._inventory.due_at(entry), entry.information_at)]
        self._schedule_round(min(max(min(times, default=now + MAX_WAIT) - now, MIN_WAIT), MAX_WAIT))

    def _abandon(self) -> Deferred[None]:
        if self._next_round is not None and self._next_round.active():
            self._next_round.cancel()
        self._round.abandoned = True
        working, self._working = self._working, succeed(None)
        working.cancel()
        return working

    def _log_failure(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("internal error while checking certificates, retrying: please report it", failure)

    def _warn(self, message: str) -> None:
        self._log.warn("{message}", message=message)
