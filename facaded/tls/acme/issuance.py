"""Issuance: turns an order whose names are authorized into a certificate (RFC 8555 §7.4)."""

from collections.abc import Callable

from facaded.net.text import printable
from facaded.tls.acme import documents, issued_certificate, keys, problems
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.issued_certificate import UnreadableChainError
from facaded.tls.acme.order_journal import OrderJournal
from facaded.tls.acme.problems import AcmeError, AcmeProblemError, OrderEndedError
from facaded.tls.acme.schedule import FailureCause
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.stored_order import OrderStage
from facaded.tls.acme.wire import CHAIN
from facaded.tls.server_certificate import ServerCertificate

READY_POLLS = 10
"""Polls, in half a minute, in which an order may still be "ready" after its request was sent: the CA may be slow."""


class Issuance:
    """The issuance of the order in `journal`; `now` returns seconds since the epoch by the CA's clock."""

    def __init__(
        self, session: Session, journal: OrderJournal, now: Callable[[], float], warn: Callable[[str], None]
    ) -> None:
        assert journal.order is not None
        self._session = session
        self._journal = journal
        self._order = journal.order
        self._now = now
        self._warn = warn

    async def finish(self) -> ServerCertificate:
        """Return the certificate of the order. Raises AcmeError or StoreError."""
        order = await self._poll(lambda order: order.status not in ("pending", "processing"))
        if order.status == "ready":
            order = await self._finalize(order)
        if order.certificate is None:
            is_validated = self._journal.stage is not OrderStage.VALIDATING
            raise _refusal(order, FailureCause.REFUSED if is_validated else FailureCause.UNVALIDATED)
        return await self._download(order.certificate)

    async def _finalize(self, order: CertificateOrder) -> CertificateOrder:
        """Send the request for the certificate, once, and return the order when the CA has decided.

        An answer that is lost or late does not matter: the order shows what the CA made of the request.
        """
        self._journal.enter(OrderStage.FINALIZING, self._now())
        failure: AcmeError | None = None
        try:
            await self._session.post(order.finalize, {"csr": keys.encode(self._order.csr)})
        except AcmeError as error:
            if isinstance(error, AcmeProblemError) and not error.may_be_repeated:
                raise OrderEndedError(str(error), FailureCause.REFUSED) from None
            if error.is_rate_limit:
                raise
            failure = error
        polls_left = 1 if isinstance(failure, AcmeProblemError) else READY_POLLS

        def is_decided(order: CertificateOrder) -> bool:
            nonlocal polls_left
            polls_left -= order.status == "ready"
            return order.status != "processing" and (order.status != "ready" or polls_left <= 0)

        order = await self._poll(is_decided)
        if order.status == "ready":
            raise failure or AcmeError("the CA has not begun to issue the certificate: retrying", ca_unavailable=True)
        return order

    async def _poll(self, is_done: Callable[[CertificateOrder], bool]) -> CertificateOrder:
        return await self._session.poll(self._order.url, documents.read_order, is_done)

    async def _download(self, url: str) -> ServerCertificate:
        """Return the CA's default chain; the alternate chains are for old clients, and ignored (§7.4.2)."""
        try:
            response = await self._session.post(url, None, CHAIN)
        except AcmeProblemError as error:
            if error.status in (404, 410):  # the CA's servers may not know it yet
                raise AcmeError(str(error), ca_unavailable=True) from None
            raise
        try:
            certificate = issued_certificate.read(response.body, keys.pem(self._order.key))
            usable, warnings = issued_certificate.check(certificate, self._order.names, self._now())
        except UnreadableChainError as error:
            raise AcmeError(str(DocumentError(str(error))), ca_unavailable=True) from None
        except ValueError as error:
            raise OrderEndedError(str(DocumentError(str(error))), FailureCause.UNUSABLE) from None
        for warning in warnings:
            self._warn(warning)
        return usable


def _refusal(order: CertificateOrder, cause: FailureCause) -> OrderEndedError:
    if order.problem is not None:
        return OrderEndedError(problems.describe(order.problem), cause)
    return OrderEndedError(f"the CA set the order to {printable(order.status)} without a reason: retrying", cause)
