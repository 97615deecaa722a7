"""Attempts to obtain a certificate: it is ordered from one CA after another until one issues it."""

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls.acme import schedule
from facaded.tls.acme.ca_orders import CaOrders
from facaded.tls.acme.inventory import Inventory
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.records import CertificateRecords
from facaded.tls.acme.schedule import OrderFailure, OrderProgress, OrderStage
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.acme.store import StoreError
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.server_certificate import ServerCertificate
from facaded.tls.window import format_time


class Round:
    """One check of all certificates. A stop or new settings may abandon it."""

    abandoned = False

    def check(self) -> None:
        """Raise CancelledError if the round is abandoned: that may have ended a request with another error."""
        if self.abandoned:
            raise CancelledError


class Attempts:
    """Orders certificates that are due, and records the outcome."""

    _log = Logger()

    def __init__(self, inventory: Inventory, records: CertificateRecords, orders: CaOrders, network: CaNetwork) -> None:
        self._inventory = inventory
        self._records = records
        self._orders = orders
        self._wall = network.wall

    async def attempt(self, entry: ManagedCertificate, this_round: Round) -> None:
        """Order one certificate, unless another daemon is ordering. Raises CancelledError if the round is abandoned."""
        by_hand = entry.progress.by_hand
        try:
            with self._records.locked() as has_lock:
                if not has_lock:
                    reason = "another daemon with the same state.directory is ordering certificates"
                    self._records.block(entry, reason, None)
                    return
                self._records.save(entry)
                self._inventory.refresh(entry)
                self._records.read_progress(entry)
                if by_hand:
                    entry.request_renewal(self._inventory.settings.directories, self._wall())
                if self._inventory.due_at(entry) <= self._wall():
                    await self._order(entry, entry.progress, this_round)
                entry.blocked_by = None
        except StoreError as error:
            self._records.block(entry, str(error))

    async def _order(self, entry: ManagedCertificate, before: OrderProgress, this_round: Round) -> None:
        """Order from one CA after another. `charged` has what counts against their limits, whatever the outcome."""
        self._records.save_progress(entry, schedule.begin(before, self._wall()))
        failures: list[OrderFailure] = []
        charged = before
        for ca in self._inventory.settings.cas:
            if schedule.available_at(before, ca.directory, self._wall()) > self._wall():
                continue
            outcome = await self._order_from(entry, charged, ca)
            if isinstance(outcome, ServerCertificate):
                self._record_success(entry, outcome, ca, charged)
                return
            if this_round.abandoned:
                entry.progress = schedule.interrupt(charged, outcome, self._wall())
                entry.unsaved_progress = True
                self._records.save(entry)
            this_round.check()
            failures.append(outcome)
            charged = schedule.charge(charged, outcome, self._wall())
        self._record_failure(entry, before, failures)

    async def _order_from(
        self, entry: ManagedCertificate, before: OrderProgress, ca: CertificateAuthority
    ) -> ServerCertificate | OrderFailure:
        def reached(stage: OrderStage) -> None:  # saved beforehand: a daemon that is killed cannot save it afterwards
            self._records.save_progress(entry, schedule.reach(before, ca.directory, stage, self._wall()))

        return await self._orders.obtain(entry, before, self._inventory.settings, ca, reached)

    def _record_success(
        self, entry: ManagedCertificate, certificate: ServerCertificate, ca: CertificateAuthority, before: OrderProgress
    ) -> None:
        self._inventory.receive(entry, certificate, ca.directory, before)
        self._log.info(
            "{names}: obtained a certificate from {issuer}, expires {end}, next renewal {renewal}",
            names=str(entry),
            issuer=certificate.issuer,
            end=format_time(certificate.validity.end),
            renewal=format_time(entry.renew_at(self._inventory.settings.directories)),
        )

    def _record_failure(self, entry: ManagedCertificate, before: OrderProgress, failures: list[OrderFailure]) -> None:
        """Record a failed attempt. Only the first in a row is an event: the next ones may be many, and say no more."""
        self._inventory.fail(entry, before, failures)
        self._log.warn(
            "{names}: no certificate obtained: {error}; next attempt {retry}",
            names=str(entry),
            error=entry.progress.error,
            retry=format_time(self._inventory.due_at(entry)),
            event_kind=None if before.attempts else EventKind.CERTIFICATE_TROUBLE,
        )
        self._records.save(entry)
