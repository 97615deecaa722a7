"""Authorizations: how a CA is shown that the names of an order lead here (RFC 8555 §7.5)."""

from facaded.tls.acme import documents, problems
from facaded.tls.acme.documents import DocumentError, IdentifierAuthorization, ValidationChallenge
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.schedule import Stage
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.stages import OrderStages
from facaded.tls.challenges import OrderChallenges


class Authorizations:
    """Those of one order for `names`. `kinds` are the kinds of challenge that can be answered, the one to use first.

    The challenges are shown until whoever runs the order withdraws them.
    """

    def __init__(
        self,
        session: Session,
        names: tuple[str, ...],
        kinds: tuple[ChallengeKind, ...],
        challenges: OrderChallenges,
        stages: OrderStages,
    ) -> None:
        self._session = session
        self._names = names
        self._kinds = kinds
        self._challenges = challenges
        self._stages = stages

    async def obtain(self, urls: tuple[str, ...]) -> None:
        """Answer a challenge for each name that the CA does not know yet, and wait until it believes them all.

        Raises AcmeError or StoreError.
        """
        shown = await self._show(urls)
        if shown:
            self._stages.enter(Stage.AUTHORIZING)
        for _, challenge in shown:
            await self._session.post(challenge.url, {})
        for url, challenge in shown:
            found = await self._session.poll(url, documents.read_authorization, lambda it: it.status != "pending")
            if found.status != "valid":
                raise _refused(found, challenge.kind)

    async def _show(self, urls: tuple[str, ...]) -> list[tuple[str, ValidationChallenge]]:
        """Show a challenge for each authorization that is pending, and return both."""
        shown: list[tuple[str, ValidationChallenge]] = []
        for url in urls:
            found = await self._session.look(url, documents.read_authorization)
            if found.name not in self._names or found.wildcard:
                raise DocumentError("an authorization for a name that was not asked for")
            if found.status == "pending":
                challenge = self._choose(found)
                authorization = self._session.key.authorization(challenge.token)
                self._challenges.show(challenge.kind, found.name, challenge.token, authorization)
                shown.append((url, challenge))
            elif found.status != "valid":
                raise _refused(found)
        return shown

    def _choose(self, found: IdentifierAuthorization) -> ValidationChallenge:
        offered = {challenge.kind: challenge for challenge in found.challenges}
        kind = next((kind for kind in self._kinds if kind in offered), None)
        if kind is None:
            kinds = " or ".join(kind.value for kind in self._kinds)
            raise AcmeError(f"{found.name}: the CA offers no challenge of {kinds}: add another to tls.acme.challenges")
        return offered[kind]


def _refused(found: IdentifierAuthorization, kind: ChallengeKind | None = None) -> AcmeError:
    """Why a name was not authorized, as the challenge says that was tried."""
    for challenge in found.challenges:
        if challenge.problem is not None and kind in (None, challenge.kind):
            return AcmeError(problems.sentence(challenge.problem, found.name, challenge.kind))
    return AcmeError(f"{found.name}: the CA does not believe that the name leads here, and does not say why")
