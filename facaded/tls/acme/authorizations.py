"""Authorizations: the proof to a CA that facaded controls the names of an order (RFC 8555 §7.5)."""

from collections.abc import Callable

from facaded.tls.acme import documents, problems
from facaded.tls.acme.documents import DocumentError, IdentifierAuthorization, ValidationChallenge
from facaded.tls.acme.order_journal import OrderJournal
from facaded.tls.acme.problems import AcmeError, OrderEndedError
from facaded.tls.acme.schedule import FailureCause
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stored_order import OrderStage
from facaded.tls.challenges import OrderChallenges

RESPONSE_RETRIES = (1.0, 3.0, 10.0)
"""Seconds after which a request to validate a name is sent again, if it was lost."""


class Authorizations:
    """The authorizations of the order in `journal`. `kinds` are the usable kinds of challenge, the preferred one first.

    `now` returns seconds since the epoch. The answers stay published until the caller withdraws them.
    """

    def __init__(
        self,
        session: Session,
        journal: OrderJournal,
        kinds: tuple[ChallengeKind, ...],
        challenges: OrderChallenges,
        now: Callable[[], float],
    ) -> None:
        self._session = session
        self._journal = journal
        self._kinds = kinds
        self._challenges = challenges
        self._now = now

    async def obtain(self, urls: tuple[str, ...]) -> None:
        """Answer a challenge for each name that is not authorized yet, and wait until the CA has validated them all.

        Raises AcmeError or StoreError.
        """
        published = await self._publish(urls)
        if published:
            self._journal.enter(OrderStage.VALIDATING, self._now())
        for url, challenge in published:
            await self._request_validation(url, challenge)
        for url, challenge in published:
            authorization = await self._session.poll(
                url, documents.read_authorization, lambda authorization: authorization.status != "pending"
            )
            if authorization.status != "valid":
                raise _refusal(authorization, FailureCause.UNVALIDATED, challenge.kind)

    async def explain(self, urls: tuple[str, ...]) -> None:
        """Raise OrderEndedError if an order has ended because the CA did not validate one of its names.

        The order itself has only a summary of that, which tells neither the name nor the port.
        """
        for url in urls:
            try:
                authorization = await self._session.fetch(url, documents.read_authorization)
            except AcmeError:  # then the summary has to do
                return
            if authorization.status == "invalid":
                raise _refusal(authorization, FailureCause.UNVALIDATED)

    async def _publish(self, urls: tuple[str, ...]) -> list[tuple[str, ValidationChallenge]]:
        """Publish an answer for each pending authorization; return the URL and the challenge of each."""
        published: list[tuple[str, ValidationChallenge]] = []
        for url in urls:
            authorization = await self._session.fetch(url, documents.read_authorization)
            if authorization.name not in self._journal.names or authorization.wildcard:
                raise DocumentError("an authorization for a name that is not in the order")
            if authorization.status == "pending":
                challenge = self._choose(authorization)
                key_authorization = self._session.key.key_authorization(challenge.token)
                self._challenges.publish(challenge.kind, authorization.name, challenge.token, key_authorization)
                published.append((url, challenge))
            elif authorization.status != "valid":
                is_resumed = self._journal.stage is OrderStage.VALIDATING
                raise _refusal(authorization, FailureCause.UNVALIDATED if is_resumed else FailureCause.REFUSED)
        return published

    def _choose(self, authorization: IdentifierAuthorization) -> ValidationChallenge:
        offered = {challenge.kind: challenge for challenge in authorization.challenges}
        started = (challenge.kind for challenge in authorization.challenges if challenge.status == "processing")
        kind = next((kind for kind in (*started, *self._kinds) if kind in offered), None)
        if kind is None:
            kinds = " or ".join(kind.value for kind in self._kinds)
            raise OrderEndedError(
                f"{authorization.name}: the CA does not offer {kinds}: add another kind to tls.acme.challenges",
                FailureCause.REFUSED,
            )
        return offered[kind]

    async def _request_validation(self, url: str, challenge: ValidationChallenge) -> None:
        """Ask the CA to validate a name. A request that was lost is sent again, unless the CA has received it."""
        for wait in (*RESPONSE_RETRIES, None):
            if challenge.status == "processing":  # an earlier request, or an earlier process, has asked
                return
            try:
                await self._session.post(challenge.url, {})
                return
            except AcmeError as error:
                if wait is None or error.is_rate_limit:
                    raise
                await self._session.pause(wait)
                if await self._is_decided(url):
                    return
                if not error.ca_unavailable:
                    raise OrderEndedError(str(error), FailureCause.UNVALIDATED) from None

    async def _is_decided(self, url: str) -> bool:
        """Return whether the CA is validating, or has validated: False too if it does not answer."""
        try:
            authorization = await self._session.fetch(url, documents.read_authorization)
        except AcmeError as error:
            if not error.ca_unavailable:
                raise
            return False
        challenges = authorization.challenges
        return authorization.status != "pending" or any(one.status == "processing" for one in challenges)


def _refusal(
    authorization: IdentifierAuthorization, cause: FailureCause, kind: ChallengeKind | None = None
) -> OrderEndedError:
    """Return why the CA did not authorize a name, with the problem of the challenge that was tried."""
    for challenge in authorization.challenges:
        if challenge.problem is not None and kind in (None, challenge.kind):
            return OrderEndedError(problems.describe(challenge.problem, authorization.name, challenge.kind), cause)
    return OrderEndedError(
        f"{authorization.name}: the CA did not validate the name and gave no reason: "
        "check that the name points to facaded",
        cause,
    )
