"""One order at one CA, from the first request to the certificate (RFC 8555 §7.4, §7.5).

An order is placed, its names are authorized (`authorizations`), and its certificate is issued (`issuance`).
"""

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.net.client import Response
from facaded.tls.acme import documents
from facaded.tls.acme.accounts import ACCOUNT_REFUSED, Accounts
from facaded.tls.acme.authorizations import Authorizations
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.issuance import Issuance
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.schedule import OrderStage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stages import StageTracker
from facaded.tls.acme.wire import Signer, Wire
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

REPLACES_REFUSED = (400, 401, 403, 404, 409)
"""Statuses with which a CA may refuse `replaces` (RFC 9773 §5): the old certificate was replaced already, belongs to
another account, or is unknown. The order is then sent again without it."""


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
    """An order in progress. `stages` records the stage that it has reached, which decides what a failure costs."""

    def __init__(
        self,
        request: OrderRequest,
        wire: Wire,
        accounts: Accounts,
        challenges: OrderChallenges,
        clock: IReactorTime,
        wall: Callable[[], float],
        stages: StageTracker,
    ) -> None:
        self._request = request
        self._placement = OrderPlacement(request, wire, accounts)
        self._wire = wire
        self._challenges = challenges
        self._clock = clock
        self._wall = wall
        self._stages = stages

    async def finish(self) -> ServerCertificate:
        """Return the certificate. Raises AcmeError or StoreError."""
        signer, url, order = await self._placement.place()
        session, names = Session(self._wire, signer, self._clock), self._request.names
        authorizations = Authorizations(session, names, self._request.kinds, self._challenges, self._stages)
        try:
            await authorizations.obtain(order.authorizations)
        finally:
            self._challenges.withdraw()
        self._stages.current = OrderStage.ISSUING
        return await Issuance(session, names, self._wall, self._stages).finalize(url)


class OrderPlacement:
    """Places an order at a CA."""

    def __init__(self, request: OrderRequest, wire: Wire, accounts: Accounts) -> None:
        self._request = request
        self._wire = wire
        self._accounts = accounts

    async def place(self) -> tuple[Signer, str, CertificateOrder]:
        """Return the signer that placed the order, the order's URL, and the order.

        If the CA refuses the account, a new account places the order.
        """
        signer = await self._accounts.signer()
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
        payload: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in self._request.names]}
        if profile is not None:
            if profile not in directory.profiles:
                available = ", ".join(directory.profiles) or "none"
                raise AcmeError(
                    f"{self._wire.url}: the CA has no profile {profile} (available: {available}): "
                    "correct `profile` in [[tls.acme.ca]], or remove it"
                )
            payload["profile"] = profile
        if replaces is not None:
            payload["replaces"] = replaces
        return await self._wire.post(signer, directory.new_order, payload)
