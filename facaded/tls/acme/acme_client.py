"""Certificates for as long as the daemon runs: looks at what is held, and one order after the other.

This is where the pure schedule meets time: `holdings` is what there is, `attempts` orders what is due, and
`renewal_information` asks the CAs when that is.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from facaded.tls.acme import schedule
from facaded.tls.acme.attempts import Attempts, Round
from facaded.tls.acme.ca_orders import CaOrders
from facaded.tls.acme.held_certificate import Names
from facaded.tls.acme.holdings import Holdings, PreparedHoldings
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.acme.records import HeldRecords
from facaded.tls.acme.renewal_information import RenewalInformation
from facaded.tls.acme.settings import AcmeSettings
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.challenges import ChallengeResponder, OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

LOOK = 60.0
"""Seconds between looks at the wall clock and the disk: a machine may have been suspended, and another daemon may
have obtained a certificate."""

SOONEST = 5.0
"""Seconds to the next look where an order is due and cannot begin: another daemon is at it, or the disk is full."""


class AcmeClient(Service):
    """Obtains and renews the certificates of `settings`, which it keeps in `directory`.

    `random` gives the jitter. `responder` answers challenges from when this service starts. `changed` is called when
    `current` has changed. Raises StoreError if the directory cannot be used.
    """

    _log = Logger()
    _due: IDelayedCall | None = None

    def __init__(
        self,
        network: CaNetwork,
        random: Random,
        settings: AcmeSettings,
        directory: Path,
        responder: ChallengeResponder,
        changed: Callable[[], None],
    ) -> None:
        store = AcmeStore(directory, self._warn)
        records = HeldRecords(store)
        self._clock = network.clock
        self._wall = network.wall
        self._holdings = Holdings(records, network.wall, random, settings, changed)
        orders = CaOrders(network, store, OrderChallenges(responder))
        self._attempts = Attempts(self._holdings, records, orders, network)
        self._information = RenewalInformation(self._holdings, network)
        self._round = Round()
        self._working: Deferred[None] = succeed(None)

    def startService(self) -> None:
        Service.startService(self)
        self._look_in(0)

    def stopService(self) -> Deferred[None]:
        """Abandon the order that is under way; it is begun anew at the next start."""
        Service.stopService(self)
        return self._abandon()

    def prepare(self, settings: AcmeSettings) -> PreparedHoldings:
        """Read what other settings want; nothing changes before `reconfigure`. Raises StoreError."""
        return self._holdings.prepare(settings)

    def reconfigure(self, prepared: PreparedHoldings) -> None:
        """Go on by other settings. It cannot fail; certificates that are still wanted are kept."""
        if prepared.settings == self._holdings.settings:
            return
        self._holdings.reconfigure(prepared)
        abandoned = self._abandon()
        abandoned.addCallback(lambda _: self._look_in(0) if self.running else None)

    def current(self) -> Mapping[Names, ServerCertificate]:
        """Return the certificates that there are, by the names of the settings; one may have expired."""
        return self._holdings.current()

    def status(self) -> tuple[OrderStatus, ...]:
        """Return what is known of each certificate."""
        cas, now = self._holdings.settings.directories, self._wall()
        return tuple(held.status(cas, now) for held in self._holdings)

    def renew(self) -> tuple[str, ...]:
        """Renew all certificates now. Return a sentence for each that cannot be renewed."""
        cas, now = self._holdings.settings.directories, self._wall()
        refusals = [refusal for held in self._holdings if (refusal := held.renew_by_hand(cas, now))]
        if self.running and self._working.called:
            self._look_in(0)
        return tuple(refusals)

    def _look_in(self, seconds: float) -> None:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._due = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._round = Round()
        self._working = Deferred.fromCoroutine(self._go_round(self._round))
        self._working.addErrback(self._went_wrong).addCallback(self._rest, self._working)

    async def _go_round(self, this_round: Round) -> None:
        """Ask about renewals, and order what is due: what a CA suggests decides when that is."""
        for held in self._holdings:
            self._holdings.refresh(held)
        for held in self._holdings:
            if schedule.may_ask(held.ask_at, self._wall()):
                await self._information.ask(held)
                this_round.go_on()
        for held in sorted(self._holdings, key=self._holdings.due_at):
            if self._holdings.due_at(held) <= self._wall():
                await self._attempts.attempt(held, this_round)
                this_round.go_on()

    def _rest(self, _: object, working: Deferred[None]) -> None:
        """Wait until something is due, or for the next look."""
        if not self.running or self._working is not working:
            return
        now = self._wall()
        dues = [at for held in self._holdings for at in (self._holdings.due_at(held), held.ask_at)]
        self._look_in(min(max(min(dues, default=now + LOOK) - now, SOONEST), LOOK))

    def _abandon(self) -> Deferred[None]:
        if self._due is not None and self._due.active():
            self._due.cancel()
        self._round.abandoned = True
        working, self._working = self._working, succeed(None)
        working.cancel()
        return working

    def _went_wrong(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("certificates: this should not happen; it is tried again", failure)

    def _warn(self, words: str) -> None:
        self._log.warn("{words}", words=words)
