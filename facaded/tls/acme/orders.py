"""One order at one CA, from the first request to the certificate (RFC 8555 §7.4, §7.5).

It is placed, its names are authorized (`authorizations`), and its certificate is issued (`issuance`).
"""

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from facaded.net.client import Response
from facaded.tls.acme import documents
from facaded.tls.acme.accounts import GONE, Accounts
from facaded.tls.acme.authorizations import Authorizations
from facaded.tls.acme.documents import CertificateOrder, DocumentError
from facaded.tls.acme.issuance import Issuance
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.schedule import Stage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stages import OrderStages
from facaded.tls.acme.wire import Signer, Wire
from facaded.tls.challenges import OrderChallenges
from facaded.tls.server_certificate import ServerCertificate

WITHOUT_REPLACES = (400, 401, 403, 404, 409)
"""Statuses with which a CA may refuse that one certificate replaces another (RFC 9773 §5): it has been replaced
already, it belongs to another account, or it is not known any more."""


@frozen
class OrderRequest:
    """What is ordered: one certificate for `names`.

    `kinds` are the kinds of challenge that can be answered, the one to use first. `replaces` is by what the CA knows
    the old certificate, if it made it.
    """

    names: tuple[str, ...]
    kinds: tuple[ChallengeKind, ...]
    profile: str | None = None
    replaces: str | None = None


class Ordering:
    """An order under way. `stages` tell how far it has come, and so what a failure costs."""

    def __init__(
        self,
        request: OrderRequest,
        wire: Wire,
        accounts: Accounts,
        challenges: OrderChallenges,
        clock: IReactorTime,
        wall: Callable[[], float],
        stages: OrderStages,
    ) -> None:
        self._request = request
        self._placement = Placement(request, wire, accounts)
        self._wire = wire
        self._challenges = challenges
        self._clock = clock
        self._wall = wall
        self._stages = stages

    async def run(self) -> ServerCertificate:
        """Return the certificate. Raises AcmeError or StoreError."""
        signer, url, order = await self._placement.place()
        session, names = Session(self._wire, signer, self._clock), self._request.names
        authorizations = Authorizations(session, names, self._request.kinds, self._challenges, self._stages)
        try:
            await authorizations.obtain(order.authorizations)
        finally:
            self._challenges.withdraw()
        self._stages.now = Stage.ISSUING
        return await Issuance(session, names, self._wall, self._stages).certificate(url)


class Placement:
    """Places an order at a CA."""

    def __init__(self, request: OrderRequest, wire: Wire, accounts: Accounts) -> None:
        self._request = request
        self._wire = wire
        self._accounts = accounts

    async def place(self) -> tuple[Signer, str, CertificateOrder]:
        """Return who has ordered, where the order is, and the order.

        It is another account that orders if the CA does not take the one that there was.
        """
        signer = await self._accounts.signer()
        try:
            return signer, *await self._order(signer)
        except AcmeProblemError as error:
            if error.problem.kind not in GONE:
                raise
            other = await self._accounts.renew(signer)
            if other is None:
                raise
        return other, *await self._order(other)

    async def _order(self, signer: Signer) -> tuple[str, CertificateOrder]:
        replaces = self._request.replaces if (await self._wire.directory()).renewal_info else None
        try:
            answer = await self._ask(signer, replaces)
        except AcmeProblemError as error:
            if replaces is None or error.status not in WITHOUT_REPLACES:
                raise
            answer = await self._ask(signer, None)
        order = documents.read_order(documents.parse(answer.body))
        if len(order.authorizations) > len(self._request.names):
            raise DocumentError("more authorizations than names")
        return documents.lawful(answer.value("Location"), "an order"), order

    async def _ask(self, signer: Signer, replaces: str | None) -> Response:
        directory, profile = await self._wire.directory(), self._request.profile
        wanted: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in self._request.names]}
        if profile is not None:
            if profile not in directory.profiles:
                has = f"has {', '.join(directory.profiles)}" if directory.profiles else "has none"
                raise AcmeError(
                    f"{self._wire.url}: the CA has no profile {profile}, it {has}: "
                    "correct `profile` in [[tls.acme.ca]], or take it out"
                )
            wanted["profile"] = profile
        if replaces is not None:
            wanted["replaces"] = replaces
        return await self._wire.post(signer, directory.new_order, wanted)
