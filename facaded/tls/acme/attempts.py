"""Attempts to obtain a certificate: it is ordered from one CA after another until one issues it."""

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from facaded.policy.events import EventKind
from facaded.tls.acme import ledger, schedule
from facaded.tls.acme.ca_orders import CaOrders, Contact
from facaded.tls.acme.inventory import Inventory
from facaded.tls.acme.ledger import Request
from facaded.tls.acme.managed_certificate import ManagedCertificate
from facaded.tls.acme.orders import OrderRequest
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.records import CertificateRecords
from facaded.tls.acme.schedule import FailureCause, OrderFailure
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.server_certificate import ServerCertificate
from facaded.tls.window import format_time


class Round:
    """One check of all certificates. A stop or new settings may abandon it.

    `unreachable` has the CAs that did not answer: they are asked once in a round, not for each certificate.
    """

    abandoned = False

    def __init__(self) -> None:
        self.unreachable: dict[str, OrderFailure] = {}

    def check(self) -> None:
        """Raise CancelledError if the round is abandoned: that may have ended a request with another error."""
        if self.abandoned:
            raise CancelledError


class Attempts:
    """Orders certificates that are due, and records the outcome."""

    _log = Logger()

    def __init__(self, inventory: Inventory, records: CertificateRecords, orders: CaOrders) -> None:
        self._inventory = inventory
        self._records = records
        self._orders = orders
        self._agenda = inventory.agenda

    async def attempt(self, entry: ManagedCertificate, this_round: Round) -> None:
        """Order one certificate, unless another daemon is ordering. Raises CancelledError if the round is abandoned."""
        try:
            with self._records.locked() as has_lock:
                if not has_lock:
                    reason = "another daemon with the same state.directory is ordering certificates"
                    self._records.block(entry, reason, None)
                    return
                self._records.save(entry)
                self._inventory.refresh(entry)
                self._records.read_shared(entry)
                if self._inventory.due_at(entry) <= self._agenda.wall():
                    await self._order(entry, this_round)
                entry.blocked_by = None
        except StoreError as error:
            self._records.block(entry, str(error))

    async def _order(self, entry: ManagedCertificate, this_round: Round) -> None:
        """Order from one CA after another that may be asked now."""
        before, request = self._agenda.attempts(entry, self._inventory.settings.cas), entry.request
        failures: list[OrderFailure] = []
        try:
            obtained = await self._order_from_first(entry, this_round, failures)
        except StoreError:
            self._record_failure(entry, before, failures)
            raise
        if obtained or entry.request is request:  # or else it was made meanwhile
            entry.request = Request.NONE
        if not obtained:
            self._record_failure(entry, before, failures)

    async def _order_from_first(
        self, entry: ManagedCertificate, this_round: Round, failures: list[OrderFailure]
    ) -> bool:
        """Order from one CA after another until one issues the certificate; add the failures of the others."""
        cas = self._inventory.settings.cas
        for ca in cas:
            if self._agenda.opens_at(entry, ca, cas) > self._agenda.wall():
                continue
            outcome = await self._order_from(entry, ca, this_round)
            this_round.check()
            if isinstance(outcome, ServerCertificate):
                self._record_success(entry, outcome, ca)
                return True
            if outcome is not None:
                self._inventory.fail(entry, outcome)
                failures.append(outcome)
                self._records.conclude(entry, outcome)
        return False

    async def _order_from(
        self, entry: ManagedCertificate, ca: CertificateAuthority, this_round: Round
    ) -> ServerCertificate | OrderFailure | None:
        """Order from one CA; None if its clock shows that it is too early."""
        ledgers, before = self._agenda.ledgers, self._agenda.ledgers.of(ca.directory)
        failure = this_round.unreachable.get(ca.directory)
        if failure is not None:
            return failure
        ledgers.save_one(ledger.begin(before, entry.names, self._agenda.clocks.now(ca.directory)))
        contact = await self._orders.contact(ca, self._inventory.settings)
        if isinstance(contact, OrderFailure):
            this_round.unreachable[ca.directory] = contact
            return contact
        if self._agenda.opens_at(entry, ca, self._inventory.settings.cas, before) > self._agenda.wall():
            return None
        is_resumed = ca.directory in entry.in_flight
        outcome = await self._obtain(entry, contact)
        return outcome if this_round.abandoned else await self._try_again(entry, contact, outcome, is_resumed)

    async def _try_again(
        self,
        entry: ManagedCertificate,
        contact: Contact,
        outcome: ServerCertificate | OrderFailure,
        is_resumed: bool,
    ) -> ServerCertificate | OrderFailure:
        """Order again at once, if that may help.

        An order that an earlier process has left may have ended meanwhile; but what it has issued counts. After the
        first failed validation in a row, the other kind of challenge is tried, because one of the ports may belong to
        another program; later attempts alternate, because failures are limited.
        """
        if isinstance(outcome, ServerCertificate):
            return outcome
        book, names = self._agenda.ledgers.of(contact.ca.directory), entry.names
        is_first = outcome.cause is FailureCause.UNVALIDATED and not book.history(names).refused
        has_other_kind = is_first and len(contact.settings.challenges) > 1
        may_repeat = outcome.cause is not FailureCause.UNUSABLE or entry.request is Request.FORCED
        now = self._agenda.clocks.now(contact.ca.directory)
        after = ledger.charge(book, names, outcome, now)
        is_helpful = outcome.is_final and ((is_resumed and may_repeat) or has_other_kind)
        if not is_helpful or not self._agenda.may_validate(entry, contact.ca, after):
            return outcome
        self._inventory.charge(entry, outcome)
        self._records.conclude(entry, outcome)
        second = await self._obtain(entry, contact)
        if isinstance(second, ServerCertificate):
            return second
        return evolve(second, reason="; ".join(dict.fromkeys((outcome.reason, second.reason))))

    async def _obtain(self, entry: ManagedCertificate, contact: Contact) -> ServerCertificate | OrderFailure:
        ca, ledgers = contact.ca, self._agenda.ledgers
        kinds = contact.settings.challenges_from(ledgers.of(ca.directory).history(entry.names).turn)
        is_issuer = ledgers.issuer(entry.names) == ca.directory
        replaces = entry.certificate.identifier if entry.certificate and is_issuer else None
        request = OrderRequest(entry.names, kinds, ca.profile_for(entry.names), replaces)
        patience = schedule.patience(self._agenda.validity(entry), self._agenda.wall())
        if entry.request is Request.FORCED:
            patience = 0.0
        try:
            return await self._orders.obtain(contact, request, patience)
        finally:
            self._records.read_in_flight(entry)

    def _record_success(
        self, entry: ManagedCertificate, certificate: ServerCertificate, ca: CertificateAuthority
    ) -> None:
        self._inventory.receive(entry, certificate, ca.directory)
        self._log.info(
            "{names}: obtained a certificate from {issuer}, expires {end}, next renewal {renewal}",
            names=str(entry),
            issuer=certificate.issuer,
            end=format_time(certificate.validity.end),
            renewal=format_time(self._agenda.renewal(entry)),
        )

    def _record_failure(self, entry: ManagedCertificate, before: int, failures: list[OrderFailure]) -> None:
        """Record a failed attempt. Only the first in a row is an event: the next ones may be many, and say no more."""
        if not failures:
            return
        self._inventory.failures.count += 1
        self._log.warn(
            "{names}: no certificate obtained: {error}; next attempt {retry}",
            names=str(entry),
            error="; ".join(failure.reason for failure in failures),
            retry=format_time(self._inventory.due_at(entry)),
            event_kind=None if before else EventKind.CERTIFICATE_TROUBLE,
        )
