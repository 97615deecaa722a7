"""Authorizations: the proof to a CA that facaded controls the names of an order (RFC 8555 §7.5)."""

from facaded.tls.acme import documents, problems
from facaded.tls.acme.documents import DocumentError, IdentifierAuthorization, ValidationChallenge
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import OrderStage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stages import StageTracker
from facaded.tls.challenges import OrderChallenges


class Authorizations:
    """The authorizations of one order for `names`. `kinds` are the usable kinds of challenge, the preferred one first.

    The answers stay published until the caller withdraws them.
    """

    def __init__(
        self,
        session: Session,
        names: tuple[str, ...],
        kinds: tuple[ChallengeKind, ...],
        challenges: OrderChallenges,
        stages: StageTracker,
    ) -> None:
        self._session = session
        self._names = names
        self._kinds = kinds
        self._challenges = challenges
        self._stages = stages

    async def obtain(self, urls: tuple[str, ...]) -> None:
        """Answer a challenge for each name that is not authorized yet, and wait until the CA has validated them all.

        Raises AcmeError or StoreError.
        """
        published = await self._publish(urls)
        if published:
            self._stages.enter(OrderStage.AUTHORIZING)
        for _, challenge in published:
            await self._session.post(challenge.url, {})
        for url, challenge in published:
            authorization = await self._session.poll(
                url, documents.read_authorization, lambda authorization: authorization.status != "pending"
            )
            if authorization.status != "valid":
                raise _refusal(authorization, challenge.kind)

    async def _publish(self, urls: tuple[str, ...]) -> list[tuple[str, ValidationChallenge]]:
        """Publish an answer for each pending authorization; return the URL and the challenge of each."""
        published: list[tuple[str, ValidationChallenge]] = []
        for url in urls:
            authorization = await self._session.fetch(url, documents.read_authorization)
            if authorization.name not in self._names or authorization.wildcard:
                raise DocumentError("an authorization for a name that is not in the order")
            if authorization.status == "pending":
                challenge = self._choose(authorization)
                key_authorization = self._session.key.key_authorization(challenge.token)
                self._challenges.publish(challenge.kind, authorization.name, challenge.token, key_authorization)
                published.append((url, challenge))
            elif authorization.status != "valid":
                raise _refusal(authorization)
        return published

    def _choose(self, authorization: IdentifierAuthorization) -> ValidationChallenge:
        offered = {challenge.kind: challenge for challenge in authorization.challenges}
        kind = next((kind for kind in self._kinds if kind in offered), None)
        if kind is None:
            kinds = " or ".join(kind.value for kind in self._kinds)
            raise AcmeError(
                f"{authorization.name}: the CA does not offer {kinds}: add another kind to tls.acme.challenges"
            )
        return offered[kind]


def _refusal(authorization: IdentifierAuthorization, kind: ChallengeKind | None = None) -> AcmeError:
    """Return why the CA did not authorize a name, with the problem of the challenge that was tried."""
    for challenge in authorization.challenges:
        if challenge.problem is not None and kind in (None, challenge.kind):
            return AcmeError(problems.describe(challenge.problem, authorization.name, challenge.kind))
    return AcmeError(
        f"{authorization.name}: the CA did not validate the name and gave no reason: "
        "check that the name points to facaded"
    )
