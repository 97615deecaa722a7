"""One order at one CA, from the first request to the certificate (RFC 8555 §7.4, §7.5).

An order is placed, its names are authorized (`authorizations`), and its certificate is issued (`issuance`). It is
written down in between (`order_journal`), and an order that an earlier attempt has left is continued.
"""

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.net.client import Response
from facaded.tls.acme import documents, issued_certificate, keys
from facaded.tls.acme.accounts import ACCOUNT_REFUSED, Accounts
from facaded.tls.acme.authorizations import Authorizations
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.issuance import Issuance
from facaded.tls.acme.order_journal import OrderJournal
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stored_order import StoredOrder
from facaded.tls.acme.wire import Signer, Wire
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

REPLACES_REFUSED = (400, 401, 403, 404, 409)
"""Statuses with which a CA may refuse `replaces` (RFC 9773 §5): the old certificate was replaced already, belongs to
another account, or is unknown. The order is then sent again without it."""

ORDER_GONE = (404, 410)
"""Statuses that mean that the CA does not know an order any more."""

SHOWN_PROFILES = 20
"""The most profiles of a CA that a message lists."""


@frozen
class OrderRequest:
    """An order for one certificate with these `names`.

    `kinds` are the usable kinds of challenge, the preferred one first. `replaces` is the identifier of the old
    certificate if this CA issued it.
    """

    names: tuple[str, ...]
    kinds: tuple[ChallengeKind, ...]
    profile: str | None = None
    replaces: str | None = None


class OrderRun:
    """An order in progress, which `journal` outlives. `now` returns seconds since the epoch by the CA's clock.

    `warn` is called with what an operator should know of a certificate that is used nevertheless.
    """

    def __init__(
        self,
        placement: "OrderPlacement",
        wire: Wire,
        challenges: OrderChallenges,
        clock: IReactorTime,
        now: Callable[[], float],
        journal: OrderJournal,
        warn: Callable[[str], None],
    ) -> None:
        self._placement = placement
        self._wire = wire
        self._challenges = challenges
        self._clock = clock
        self._now = now
        self._journal = journal
        self._warn = warn

    async def finish(self) -> ServerCertificate:
        """Return the certificate. Raises AcmeError or StoreError."""
        signer = await self._placement.signer()
        order = await self._look_up(signer)
        if order is None:
            signer, order = await self._begin(signer)
        session = Session(self._wire, signer, self._clock)
        authorizations = Authorizations(session, self._journal, self._placement.kinds, self._challenges, self._now)
        if order.status == "pending":
            await self._authorize(authorizations, order)
        elif order.status == "invalid":
            await authorizations.explain(order.authorizations)
        return await Issuance(session, self._journal, self._now, self._warn).finish()

    async def _look_up(self, signer: Signer) -> CertificateOrder | None:
        """Return the order that an earlier attempt has left, or None if there is none at the CA."""
        if self._journal.order is None:
            return None
        session = Session(self._wire, signer, self._clock)
        try:
            return await session.poll(self._journal.order.url, documents.read_order, lambda _: True)
        except AcmeProblemError as error:
            if error.status not in ORDER_GONE and error.problem.kind not in (*ACCOUNT_REFUSED, "malformed"):
                raise
        self._journal.discard()
        return None

    async def _begin(self, signer: Signer) -> tuple[Signer, CertificateOrder]:
        signer, url, order = await self._placement.place(signer)
        key, names = keys.new(), self._journal.names
        csr = issued_certificate.make_request(names, key)
        self._journal.write(StoredOrder(self._journal.ca, names, url, key, csr, self._now()))
        return signer, order

    async def _authorize(self, authorizations: Authorizations, order: CertificateOrder) -> None:
        try:
            await authorizations.obtain(order.authorizations)
        finally:
            self._challenges.withdraw()


class OrderPlacement:
    """Places an order at a CA."""

    def __init__(self, request: OrderRequest, wire: Wire, accounts: Accounts) -> None:
        self.kinds = request.kinds
        self._request = request
        self._wire = wire
        self._accounts = accounts

    async def signer(self) -> Signer:
        """Return the signer for this CA. Raises AcmeError or StoreError."""
        return await self._accounts.signer()

    async def place(self, signer: Signer) -> tuple[Signer, str, CertificateOrder]:
        """Return the signer that placed the order, the order's URL, and the order.

        If the CA refuses the account, a new account places the order.
        """
        try:
            return signer, *await self._order(signer)
        except AcmeProblemError as error:
            if error.problem.kind not in ACCOUNT_REFUSED:
                raise
            new_signer = await self._accounts.recover(signer)
            if new_signer is None:
                raise
        return new_signer, *await self._order(new_signer)

    async def _order(self, signer: Signer) -> tuple[str, CertificateOrder]:
        replaces = self._request.replaces if (await self._wire.directory()).renewal_info else None
        try:
            response = await self._send(signer, replaces)
        except AcmeProblemError as error:
            if replaces is None or error.status not in REPLACES_REFUSED:
                raise
            response = await self._send(signer, None)
        order = documents.read_order(documents.parse(response.body))
        if len(order.authorizations) > len(self._request.names):
            raise DocumentError("more authorizations than names")
        return documents.check_url(response.value("Location"), "an order"), order

    async def _send(self, signer: Signer, replaces: str | None) -> Response:
        directory, profile = await self._wire.directory(), self._request.profile
        payload: dict[str, Any] = {"identifiers": documents.write_identifiers(self._request.names)}
        if profile is not None:
            if profile not in directory.profiles:
                available = ", ".join(directory.profiles[:SHOWN_PROFILES]) or "none"
                raise AcmeError(
                    f"{self._wire.url}: the CA has no profile {profile} (available: {available}): "
                    "correct `profile` in [[tls.acme.ca]], or remove it"
                )
            payload["profile"] = profile
        if replaces is not None:
            payload["replaces"] = replaces
        return await self._wire.post(signer, directory.new_order, payload)
