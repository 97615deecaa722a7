"""Attempts: one certificate is ordered, at one CA after the other until one gives it."""

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from facaded.tls.acme import schedule
from facaded.tls.acme.ca_orders import CaOrders
from facaded.tls.acme.held_certificate import HeldCertificate
from facaded.tls.acme.holdings import Holdings
from facaded.tls.acme.records import HeldRecords
from facaded.tls.acme.schedule import Failure, OrderProgress, Stage, moment
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.acme.store import StoreError
from facaded.tls.acme.wire import CaNetwork
from facaded.tls.server_certificate import ServerCertificate


class Round:
    """One look at everything that is held. It may be abandoned, by a stop or by other settings."""

    abandoned = False

    def go_on(self) -> None:
        """Raise CancelledError if it was abandoned: a connection may have ended in another way because of that."""
        if self.abandoned:
            raise CancelledError


class Attempts:
    """Orders what is due, and takes down what comes of it."""

    _log = Logger()

    def __init__(self, holdings: Holdings, records: HeldRecords, orders: CaOrders, network: CaNetwork) -> None:
        self._holdings = holdings
        self._records = records
        self._orders = orders
        self._wall = network.wall

    async def attempt(self, held: HeldCertificate, this_round: Round) -> None:
        """Order one certificate, unless another daemon does. Raises CancelledError if the round is abandoned."""
        by_hand = held.progress.by_hand
        try:
            with self._records.locked() as alone:
                if not alone:
                    words = "another daemon with the same state.directory is ordering certificates"
                    self._records.note_trouble(held, words)
                    return
                self._records.save(held)
                self._holdings.refresh(held)
                self._records.read_progress(held)
                if by_hand:
                    held.renew_by_hand(self._holdings.settings.directories, self._wall())
                if self._holdings.due_at(held) <= self._wall():
                    await self._order(held, held.progress, this_round)
                held.trouble = None
        except StoreError as error:
            self._records.note_trouble(held, str(error))

    async def _order(self, held: HeldCertificate, before: OrderProgress, this_round: Round) -> None:
        """Ask one CA after the other. `counts` is what they must not forget whatever comes of it."""
        self._records.keep(held, schedule.begun(before, self._wall()))
        failures: list[Failure] = []
        counts = before
        for ca in self._holdings.settings.cas:
            if schedule.opens_at(before, ca.directory, self._wall()) > self._wall():
                continue
            outcome = await self._ask(held, counts, ca)
            if isinstance(outcome, ServerCertificate):
                self._received(held, outcome, ca, counts)
                return
            if this_round.abandoned:
                held.progress = schedule.interrupted(counts, outcome, self._wall())
                held.unsaved_progress = True
                self._records.save(held)
            this_round.go_on()
            failures.append(outcome)
            counts = schedule.counted(counts, outcome, self._wall())
        self._failed(held, before, failures)

    async def _ask(
        self, held: HeldCertificate, before: OrderProgress, ca: CertificateAuthority
    ) -> ServerCertificate | Failure:
        def reached(stage: Stage) -> None:  # on the disk before it happens: a daemon that is killed cannot say it later
            self._records.keep(held, schedule.reached(before, ca.directory, stage, self._wall()))

        return await self._orders.ask(held, before, self._holdings.settings, ca, reached)

    def _received(
        self, held: HeldCertificate, certificate: ServerCertificate, ca: CertificateAuthority, before: OrderProgress
    ) -> None:
        self._holdings.receive(held, certificate, ca.directory, before)
        self._log.info(
            "{names}: a certificate of {issuer} until {until}, to be renewed {again}",
            names=str(held),
            issuer=certificate.issuer,
            until=moment(certificate.life.ends),
            again=moment(held.renew_at(self._holdings.settings.directories)),
        )

    def _failed(self, held: HeldCertificate, before: OrderProgress, failures: list[Failure]) -> None:
        self._holdings.fail(held, before, failures)
        again = moment(self._holdings.due_at(held))
        self._log.warn("{words}", words=f"{held}: no certificate: {held.progress.error}; tried again {again}")
        self._records.save(held)
