"""One order at one CA, from the first request to the certificate (RFC 8555 §7.4, §7.5)."""

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from facaded.net.client import Response
from facaded.net.text import printable
from facaded.tls.acme import documents, issued, keys, problems
from facaded.tls.acme.accounts import GONE, Accounts
from facaded.tls.acme.challenges import Answers
from facaded.tls.acme.documents import Authorization, Challenge, DocumentError, Order
from facaded.tls.acme.issued import Certificate
from facaded.tls.acme.problems import AcmeError, RefusedError
from facaded.tls.acme.schedule import Stage
from facaded.tls.acme.settings import Ca, Kind
from facaded.tls.acme.wire import CHAIN, Signer, Wire

POLLS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0)
"""Seconds between looks at what a CA is doing; the last one for all further. Most authorizations take a second."""

LONGEST_POLL = 60.0
"""Seconds between two looks that a CA's Retry-After may ask for: an order has five minutes in all."""

ILL_POLLS = 3
"""Looks in a row that may find a CA ill: an authorization under way is not given up for one of them."""

WITHOUT_REPLACES = (400, 401, 403, 404, 409)
"""Statuses with which a CA may refuse that one certificate replaces another (RFC 9773 §5): it has been replaced
already, it belongs to another account, or it is not known any more."""

T = TypeVar("T")


@frozen
class Wanted:
    """What is ordered: one certificate for `names`.

    `kinds` are the kinds of challenge that can be answered, the one to use first. `replaces` is what the CA knows the
    old certificate by, if it made it.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    replaces: str | None = None


class Ordering:
    """An order under way. `stage` is how far it has come, and so what a failure costs.

    `wall` gives seconds since the epoch. `reached` is called with the stage that is about to begin, before anything
    is asked that counts against a limit of the CA; it may raise StoreError, and then nothing is asked.
    """

    def __init__(
        self,
        wanted: Wanted,
        ca: Ca,
        wire: Wire,
        accounts: Accounts,
        answers: Answers,
        clock: IReactorTime,
        wall: Callable[[], float],
        reached: Callable[[Stage], None],
    ) -> None:
        self.stage = Stage.REACHING
        self._wanted = wanted
        self._ca = ca
        self._wire = wire
        self._accounts = accounts
        self._answers = answers
        self._clock = clock
        self._wall = wall
        self._reached = reached

    async def run(self) -> Certificate:
        """The certificate. Raises AcmeError or StoreError."""
        signer = await self._accounts.signer()
        signer, url, order = await self._order(signer)
        try:
            await self._authorize(signer, order)
        finally:
            self._answers.withdraw()
        self.stage = Stage.ISSUING
        return await self._certificate(signer, url)

    def _enter(self, stage: Stage) -> None:
        self._reached(stage)
        self.stage = stage

    # The order

    async def _order(self, signer: Signer) -> tuple[Signer, str, Order]:
        """An order, by another account if the CA does not take this one any more."""
        try:
            return signer, *await self._new_order(signer)
        except RefusedError as error:
            if error.problem.kind not in GONE:
                raise
            other = await self._accounts.renew(signer)
            if other is None:
                raise
        return other, *await self._new_order(other)

    async def _new_order(self, signer: Signer) -> tuple[str, Order]:
        replaces = self._wanted.replaces if (await self._wire.directory()).renewal_info else None
        try:
            answer = await self._ask_for_order(signer, replaces)
        except RefusedError as error:
            if replaces is None or error.status not in WITHOUT_REPLACES:
                raise
            answer = await self._ask_for_order(signer, None)
        order = documents.read_order(documents.parse(answer.body))
        if len(order.authorizations) > len(self._wanted.names):
            raise DocumentError("more authorizations than names")
        return documents.lawful(answer.value("Location"), "an order"), order

    async def _ask_for_order(self, signer: Signer, replaces: str | None) -> Response:
        directory = await self._wire.directory()
        wanted: dict[str, Any] = {"identifiers": [{"type": "dns", "value": name} for name in self._wanted.names]}
        if self._ca.profile is not None:
            if self._ca.profile not in directory.profiles:
                has = f"has {', '.join(directory.profiles)}" if directory.profiles else "has none"
                raise AcmeError(
                    f"{self._ca.directory}: the CA has no profile {self._ca.profile}, it {has}: "
                    "correct `profile` in [[tls.acme.ca]], or take it out"
                )
            wanted["profile"] = self._ca.profile
        if replaces is not None:
            wanted["replaces"] = replaces
        return await self._wire.post(signer, directory.new_order, wanted)

    # Authorizations

    async def _authorize(self, signer: Signer, order: Order) -> None:
        """Response a challenge for each name that the CA does not know yet, and wait until it believes them all."""
        answered: list[tuple[str, Challenge]] = []
        for url in order.authorizations:
            found = await self._look(signer, url, documents.read_authorization)
            if found.name not in self._wanted.names or found.wildcard:
                raise DocumentError("an authorization for a name that was not asked for")
            if found.status == "pending":
                challenge = self._choose(found)
                authorization = signer.key.authorization(challenge.token)
                self._answers.show(challenge.kind, found.name, challenge.token, authorization)
                answered.append((url, challenge))
            elif found.status != "valid":
                raise self._unauthorized(found)
        if answered:
            self._enter(Stage.AUTHORIZING)
        for _, challenge in answered:
            await self._wire.post(signer, challenge.url, {})
        for url, challenge in answered:
            found = await self._poll(signer, url, documents.read_authorization, lambda it: it.status != "pending")
            if found.status != "valid":
                raise self._unauthorized(found, challenge.kind)

    def _choose(self, found: Authorization) -> Challenge:
        offered = {challenge.kind: challenge for challenge in found.challenges}
        kind = next((kind for kind in self._wanted.kinds if kind in offered), None)
        if kind is None:
            kinds = " or ".join(kind.value for kind in self._wanted.kinds)
            raise AcmeError(f"{found.name}: the CA offers no challenge of {kinds}: add another to tls.acme.challenges")
        return offered[kind]

    @staticmethod
    def _unauthorized(found: Authorization, kind: Kind | None = None) -> AcmeError:
        """Why a name was not authorized, as the challenge has it that was tried."""
        for challenge in found.challenges:
            if challenge.problem is not None and kind in (None, challenge.kind):
                return AcmeError(problems.sentence(challenge.problem, found.name, challenge.kind))
        return AcmeError(f"{found.name}: the CA does not believe that the name leads here, and does not say why")

    # The certificate

    async def _certificate(self, signer: Signer, url: str) -> Certificate:
        order = await self._poll(signer, url, documents.read_order, lambda it: it.status != "pending")
        if order.status != "ready":
            raise self._not_issued(order)
        key = keys.new()
        request = {"csr": keys.encoded(issued.request(self._wanted.names, key))}
        self._enter(Stage.MADE)
        try:
            await self._wire.post(signer, order.finalize, request)
        except RefusedError as error:
            if not error.ill:
                self.stage = Stage.ISSUING
            raise
        order = await self._poll(signer, url, documents.read_order, lambda it: it.status not in ("processing", "ready"))
        if order.certificate is None:
            self.stage = Stage.ISSUING
            raise self._not_issued(order)
        return await self._download(signer, order.certificate, key)

    async def _download(self, signer: Signer, url: str, key: keys.Key) -> Certificate:
        """The chain that the CA gives first; what else it offers is for old clients, and ignored (§7.4.2)."""
        answer = await self._wire.post(signer, url, None, CHAIN)
        try:
            certificate = issued.read(answer.body, keys.pem(key))
            issued.check(certificate, self._wanted.names, self._wall())
        except ValueError as error:
            raise DocumentError(f"it gave {error}") from None
        return certificate

    @staticmethod
    def _not_issued(order: Order) -> AcmeError:
        if order.problem is not None:
            return AcmeError(problems.sentence(order.problem))
        return AcmeError(
            f"the CA had authorized all names, and then made the order {printable(order.status)} without a reason: "
            "it is tried again"
        )

    # Looking

    async def _look(self, signer: Signer, url: str, read: Callable[[documents.Document], T]) -> T:
        return read(documents.parse((await self._wire.post(signer, url, None)).body))

    async def _poll(
        self, signer: Signer, url: str, read: Callable[[documents.Document], T], is_done: Callable[[T], bool]
    ) -> T:
        """Look until it is done. The time is bounded by whoever runs the order."""
        looks = ill = 0
        while True:
            wait = POLLS[min(looks, len(POLLS) - 1)]
            try:
                answer = await self._wire.post(signer, url, None)
                found, ill, retry_after = read(documents.parse(answer.body)), 0, self._wire.retry_after(answer)
                if is_done(found):
                    return found
            except AcmeError as error:
                ill, retry_after = ill + 1, error.retry_after
                if not error.ill or ill > ILL_POLLS:
                    raise
            looks += 1
            await deferLater(self._clock, min(max(wait, retry_after), LONGEST_POLL))
