"""Issuance: an order whose names are authorized becomes a certificate (RFC 8555 §7.4)."""

from collections.abc import Callable

from facaded.net.text import printable
from facaded.tls.acme import documents, issued, keys, problems
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.schedule import Stage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.stages import OrderStages
from facaded.tls.acme.wire import CHAIN
from facaded.tls.server_certificate import ServerCertificate


class Issuance:
    """That of one order for `names`; `wall` gives seconds since the epoch."""

    def __init__(
        self, session: Session, names: tuple[str, ...], wall: Callable[[], float], stages: OrderStages
    ) -> None:
        self._session = session
        self._names = names
        self._wall = wall
        self._stages = stages

    async def certificate(self, url: str) -> ServerCertificate:
        """Return the certificate of the order at `url`. Raises AcmeError or StoreError."""
        order = await self._session.poll(url, documents.read_order, lambda it: it.status != "pending")
        if order.status != "ready":
            raise _not_issued(order)
        key = keys.new()
        self._stages.enter(Stage.MADE)
        try:
            await self._session.post(order.finalize, {"csr": keys.encoded(issued.request(self._names, key))})
        except AcmeProblemError as error:
            if not error.ill:
                self._stages.now = Stage.ISSUING
            raise
        order = await self._session.poll(url, documents.read_order, lambda it: it.status not in ("processing", "ready"))
        if order.certificate is None:
            self._stages.now = Stage.ISSUING
            raise _not_issued(order)
        return await self._download(order.certificate, key)

    async def _download(self, url: str, key: keys.P256Key) -> ServerCertificate:
        """Return the chain that the CA gives first; what else it offers is for old clients, and ignored (§7.4.2)."""
        answer = await self._session.post(url, None, CHAIN)
        try:
            certificate = issued.read(answer.body, keys.pem(key))
            issued.check(certificate, self._names, self._wall())
        except ValueError as error:
            raise DocumentError(f"it gave {error}") from None
        return certificate


def _not_issued(order: CertificateOrder) -> AcmeError:
    if order.problem is not None:
        return AcmeError(problems.sentence(order.problem))
    return AcmeError(
        f"the CA had authorized all names, and then made the order {printable(order.status)} without a reason: "
        "it is tried again"
    )
