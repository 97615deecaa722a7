"""Issuance: turns an order whose names are authorized into a certificate (RFC 8555 §7.4)."""

from collections.abc import Callable

from facaded.net.text import printable
from facaded.tls.acme import documents, issued_certificate, keys, problems
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.schedule import OrderStage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.stages import StageTracker
from facaded.tls.acme.wire import CHAIN
from facaded.tls.server_certificate import ServerCertificate


class Issuance:
    """The issuance of one order for `names`; `wall` returns seconds since the epoch."""

    def __init__(
        self, session: Session, names: tuple[str, ...], wall: Callable[[], float], stages: StageTracker
    ) -> None:
        self._session = session
        self._names = names
        self._wall = wall
        self._stages = stages

    async def finalize(self, url: str) -> ServerCertificate:
        """Return the certificate of the order at `url`. Raises AcmeError or StoreError."""
        order = await self._session.poll(url, documents.read_order, lambda order: order.status != "pending")
        if order.status != "ready":
            raise _refusal(order)
        key = keys.new()
        self._stages.enter(OrderStage.ISSUED)
        try:
            csr = issued_certificate.make_request(self._names, key)
            await self._session.post(order.finalize, {"csr": keys.encode(csr)})
        except AcmeProblemError as error:
            if not error.ca_unavailable:
                self._stages.current = OrderStage.ISSUING
            raise
        order = await self._session.poll(
            url, documents.read_order, lambda order: order.status not in ("processing", "ready")
        )
        if order.certificate is None:
            self._stages.current = OrderStage.ISSUING
            raise _refusal(order)
        return await self._download(order.certificate, key)

    async def _download(self, url: str, key: keys.P256Key) -> ServerCertificate:
        """Return the CA's default chain; the alternate chains are for old clients, and ignored (§7.4.2)."""
        response = await self._session.post(url, None, CHAIN)
        try:
            certificate = issued_certificate.read(response.body, keys.pem(key))
            issued_certificate.check(certificate, self._names, self._wall())
        except ValueError as error:
            raise DocumentError(str(error)) from None
        return certificate


def _refusal(order: CertificateOrder) -> AcmeError:
    if order.problem is not None:
        return AcmeError(problems.describe(order.problem))
    return AcmeError(
        f"the CA authorized all names, but then set the order to {printable(order.status)} without a reason: retrying"
    )
