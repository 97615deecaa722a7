"""Renewal information: when a CA suggests to renew a certificate (RFC 9773)."""

from OpenSSL import crypto
from twisted.logger import Logger

from facaded.tls.acme import documents, schedule
from facaded.tls.acme.documents import Suggestion
from facaded.tls.acme.held_certificate import HeldCertificate
from facaded.tls.acme.holdings import Holdings
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import moment
from facaded.tls.acme.wire import CaNetwork


class RenewalInformation:
    """Asks the CAs about the certificates that are held."""

    _log = Logger()

    def __init__(self, holdings: Holdings, network: CaNetwork) -> None:
        self._holdings = holdings
        self._network = network

    async def ask(self, held: HeldCertificate) -> None:
        """Ask the CA of a certificate when it suggests to renew it.

        While it cannot be asked, what it has said last holds.
        """
        ca = next((ca for ca in self._holdings.settings.cas if ca.directory == held.progress.ca), None)
        self._ask_again(held, 0.0)
        if ca is None or held.certificate is None or held.certificate.identifier is None:
            return
        try:
            wire = self._network.wire(ca)
            info = (await wire.directory()).renewal_info
            if info is None:
                held.suggestion = None
                return
            answer = await wire.get(f"{info.rstrip('/')}/{held.certificate.identifier}")
            suggestion = documents.read_suggestion(documents.parse(answer.body))
        except (AcmeError, OSError, crypto.Error) as error:
            self._log.debug("{names}: no renewal information: {why}", names=str(held), why=str(error))
            self._ask_again(held, error.retry_after if isinstance(error, AcmeError) else 0.0)
            return
        self._ask_again(held, wire.retry_after(answer))
        self._note(held, suggestion)

    def _ask_again(self, held: HeldCertificate, retry_after: float) -> None:
        held.ask_at = self._network.wall() + schedule.asked_again(retry_after)

    def _note(self, held: HeldCertificate, suggestion: Suggestion) -> None:
        if suggestion == held.suggestion:
            return
        held.suggestion = suggestion
        self._log.info(
            "{names}: the CA suggests a time for the renewal{why}: {again}",
            names=str(held),
            why=f" ({suggestion.explanation})" if suggestion.explanation else "",
            again=moment(self._holdings.due_at(held)),
        )
