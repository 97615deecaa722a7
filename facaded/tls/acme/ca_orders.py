"""Orders at one CA: the outcome is its certificate, or the reason why there is none."""

from collections.abc import Callable
from urllib.parse import urlsplit

from attrs import evolve, frozen
from OpenSSL import crypto
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from facaded.tls.acme.accounts import Accounts
from facaded.tls.acme.ca_clocks import CaClocks
from facaded.tls.acme.order_journal import OrderJournal
from facaded.tls.acme.orders import OrderPlacement, OrderRequest, OrderRun
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.problems import AcmeError, OrderEndedError
from facaded.tls.acme.schedule import LONGEST_CHECK, FailureCause, OrderFailure
from facaded.tls.acme.settings import AcmeSettings, CertificateAuthority
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.stored_order import OrderStage
from facaded.tls.acme.wire import CaNetwork, Wire
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

ORDER_TIMEOUT = 300.0
"""Seconds for one order at one CA: authorizations take seconds, or a few minutes at an overloaded CA."""


@frozen
class Contact:
    """A CA that has answered, and with which settings it is asked."""

    ca: CertificateAuthority
    settings: AcmeSettings
    wire: Wire

    def fail_with(self, reason: str, cause: FailureCause, error: AcmeError | None = None) -> OrderFailure:
        """Return a failure at this CA. The reason begins with its host, if there are several CAs and it has not."""
        return _failure(self.ca, self.settings, reason, cause, error)


class CaOrders:
    """Orders from one CA at a time, with the accounts in `store`. Failures are values, internal errors included."""

    _log = Logger()

    def __init__(self, network: CaNetwork, store: AcmeStore, challenges: OrderChallenges, clocks: CaClocks) -> None:
        self._network = network
        self._store = store
        self._challenges = challenges
        self._clocks = clocks

    async def contact(self, ca: CertificateAuthority, settings: AcmeSettings) -> Contact | OrderFailure:
        """Fetch the directory of a CA, which also shows its clock."""
        try:
            wire = self._network.wire(ca)
        except (OSError, crypto.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else "no certificate in PEM form"
            message = f"ca_file: {ca.ca_file} cannot be used ({reason}): name a PEM file that facaded can read"
            return OrderFailure(ca.directory, message, FailureCause.REFUSED)
        try:
            await wire.directory()
        except AcmeError as error:
            cause = FailureCause.UNAVAILABLE if error.ca_unavailable else FailureCause.REFUSED
            return _failure(ca, settings, str(error), cause, error)
        self._clocks.note(ca.directory, wire.offset)
        return Contact(ca, settings, wire)

    async def obtain(
        self, contact: Contact, request: OrderRequest, patience: float
    ) -> ServerCertificate | OrderFailure:
        """Order a certificate, or go on with the order in flight; return the certificate or the failure.

        The order remains stored until the caller has recorded the outcome. One that the CA does not finish within
        `patience` seconds is given up. Raises StoreError, or CancelledError
        if this is cancelled.
        """
        journal = OrderJournal(self._store.orders, contact.ca.directory, request.names)
        now = self._clock_of(contact)
        started = now()
        outcome = await self._finish(contact, request, journal, now)
        if not isinstance(outcome, OrderFailure) or journal.order is None or outcome.is_final:
            return outcome
        if outcome.cause is FailureCause.UNAVAILABLE:
            patience = LONGEST_CHECK
        if journal.is_stuck(started, patience):
            cause = FailureCause.UNUSABLE if journal.stage is OrderStage.FINALIZING else outcome.cause
            return evolve(outcome, reason=f"{outcome.reason}; a new order follows", cause=cause, is_final=True)
        return outcome

    async def _finish(
        self, contact: Contact, request: OrderRequest, journal: OrderJournal, now: Callable[[], float]
    ) -> ServerCertificate | OrderFailure:
        run = self._run(contact, request, journal, now)
        try:
            return await Deferred.fromCoroutine(run.finish()).addTimeout(ORDER_TIMEOUT, self._network.clock)
        except OrderEndedError as error:
            return evolve(contact.fail_with(str(error), error.cause, error), is_final=True)
        except AcmeError as error:
            if error.ca_unavailable:
                return contact.fail_with(str(error), FailureCause.UNAVAILABLE, error)
            is_final = not error.is_rate_limit and journal.stage is not OrderStage.FINALIZING
            return evolve(contact.fail_with(str(error), FailureCause.REFUSED, error), is_final=is_final)
        except TimeoutError:
            message = f"the order did not finish within {ORDER_TIMEOUT:g} s"
            if journal.stage is not OrderStage.VALIDATING:
                return contact.fail_with(message, FailureCause.UNFINISHED)
            return evolve(contact.fail_with(message, FailureCause.UNDECIDED), is_final=True)
        except (StoreError, CancelledError):
            raise
        except Exception:  # an exception that escaped here would be retried without any limit
            self._log.failure("{names}: internal error while ordering a certificate", names=", ".join(request.names))
            return contact.fail_with("internal error in facaded: see its log, and report it", FailureCause.REFUSED)
        finally:
            self._clocks.note(contact.ca.directory, contact.wire.offset)

    def _run(
        self, contact: Contact, request: OrderRequest, journal: OrderJournal, now: Callable[[], float]
    ) -> OrderRun:
        wire = contact.wire
        accounts = Accounts(contact.ca, contact.settings.email, wire, self._store, self._warn)
        placement = OrderPlacement(request, wire, accounts)
        return OrderRun(placement, wire, self._challenges, self._network.clock, now, journal, self._warn)

    def _clock_of(self, contact: Contact) -> Callable[[], float]:
        """Return the clock of a CA."""

        def now() -> float:
            self._clocks.note(contact.ca.directory, contact.wire.offset)
            return self._clocks.now(contact.ca.directory)

        return now

    def _warn(self, message: str) -> None:
        self._log.warn("{message}", message=message)


def _failure(
    ca: CertificateAuthority, settings: AcmeSettings, reason: str, cause: FailureCause, error: AcmeError | None = None
) -> OrderFailure:
    host = urlsplit(ca.directory).hostname or ""
    message = reason if len(settings.cas) == 1 or host in reason else f"{host}: {reason}"
    retry_after = error.retry_after if error else 0.0
    return OrderFailure(ca.directory, message, cause, retry_after, error is not None and error.is_rate_limit)
