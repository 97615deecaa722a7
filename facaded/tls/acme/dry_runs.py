"""Dry runs: orders at a staging CA as far as valid authorizations, and no further, so that no certificate is issued.

Each one uses a new account, so that no earlier authorization is reused. The account is deactivated at the end.
"""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from attrs import evolve, frozen
from OpenSSL import crypto
from twisted.internet.defer import Deferred, TimeoutError

from facaded.tls.acme import documents, problems
from facaded.tls.acme.accounts import Accounts
from facaded.tls.acme.documents import CertificateOrder, DocumentError, ValidationChallenge
from facaded.tls.acme.orders import OrderPlacement, OrderRequest
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.problems import AcmeError
from facaded.tls.acme.sessions import Session
from facaded.tls.acme.settings import CertificateAuthority, ChallengeKind
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.wire import CaNetwork, Signer, Wire
from facaded.tls.server_certificate import UnusableError

TIME_LIMIT = 120.0
"""Seconds for one order with one kind of challenge: a CA validates in seconds, or in a minute if it retries."""


class AnswersChallenges(Protocol):
    """Answers challenges where a CA asks: on the ports of the daemon."""

    @property
    def description(self) -> str:
        """Who answers them, in a few words."""

    def why_not(self, kind: ChallengeKind) -> str | None:
        """Return why challenges of a kind cannot be answered, None if they can."""

    async def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Answer a challenge. Raises AnswerError."""

    async def withdraw(self) -> None:
        """Answer none of them any more. Raises AnswerError."""


class AnswerError(Exception):
    """A challenge could not be answered. The text says why."""


@frozen
class DryRun:
    """The outcome of a dry run for one certificate at the staging directory of a CA.

    `authorized_by` is the kind of challenge by which all names were authorized, None if none worked. `failures` has a
    sentence for each kind that was tried before, or for the order if it was refused.
    """

    names: tuple[str, ...]
    directory: str
    authorized_by: str | None = None
    failures: tuple[str, ...] = ()


class DryRuns:
    """Orders at staging CAs; `answers` answers their challenges. Failures are values."""

    def __init__(self, network: CaNetwork, answers: AnswersChallenges) -> None:
        self._network = network
        self._answers = answers

    async def run(self, ca: CertificateAuthority, names: tuple[str, ...], kinds: tuple[ChallengeKind, ...]) -> DryRun:
        """Order a certificate for these names with each of `kinds` until one works. The CA has a staging directory."""
        directory = ca.staging_directory or ca.directory
        failures: list[str] = []
        staging = evolve(ca, directory=directory, profile=ca.profile_for(names))
        for kind in kinds:
            try:
                order = Deferred.fromCoroutine(self._order(staging, names, kind))
                await order.addTimeout(TIME_LIMIT, self._network.clock)
                return DryRun(names, directory, kind.value, tuple(failures))
            except TimeoutError:
                failures.append(f"{kind.value}: the CA did not decide within {TIME_LIMIT:.0f} s: try again later")
            except (_AuthorizationError, AnswerError, UnusableError) as error:
                failures.append(f"{kind.value}: {error}")
            except (AcmeError, StoreError, OSError, crypto.Error) as error:  # another kind would not change it
                failures.append(str(error))
                break
        return DryRun(names, directory, None, tuple(failures))

    async def _order(self, ca: CertificateAuthority, names: tuple[str, ...], kind: ChallengeKind) -> None:
        """Order with a new account, and wait until all names are authorized."""
        wire = self._network.wire(ca)
        with TemporaryDirectory() as directory:
            accounts = Accounts(ca, None, wire, AcmeStore(Path(directory), _ignore), _ignore)
            placement = OrderPlacement(OrderRequest(names, (kind,), ca.profile), wire, accounts)
            signer, _, order = await placement.place(await placement.signer())
        session = Session(wire, signer, self._network.clock)
        try:
            await self._authorize(session, order, names, kind)
        finally:
            with contextlib.suppress(AnswerError):  # they are withdrawn by themselves after a while
                await self._answers.withdraw()
            await _deactivate(wire, signer)

    async def _authorize(
        self, session: Session, order: CertificateOrder, names: tuple[str, ...], kind: ChallengeKind
    ) -> None:
        published: list[tuple[str, ValidationChallenge]] = []
        for url in order.authorizations:
            authorization = await session.fetch(url, documents.read_authorization)
            if authorization.name not in names:
                raise DocumentError("an authorization for a name that is not in the order")
            if authorization.status == "valid":
                continue
            challenge = next((offered for offered in authorization.challenges if offered.kind is kind), None)
            if challenge is None:
                raise _AuthorizationError(f"{authorization.name}: the CA does not offer it")
            key_authorization = session.key.key_authorization(challenge.token)
            await self._answers.publish(kind, authorization.name, challenge.token, key_authorization)
            published.append((url, challenge))
        for _, challenge in published:
            await session.post(challenge.url, {})
        for url, _ in published:
            await _wait_until_valid(session, url, kind)


class _AuthorizationError(Exception):
    """A CA has not validated a name by one kind of challenge; another kind may work."""


async def _wait_until_valid(session: Session, url: str, kind: ChallengeKind) -> None:
    authorization = await session.poll(url, documents.read_authorization, lambda latest: latest.status != "pending")
    if authorization.status == "valid":
        return
    for challenge in authorization.challenges:
        if challenge.kind is kind and challenge.problem is not None:
            raise _AuthorizationError(problems.describe(challenge.problem, authorization.name, kind))
    raise _AuthorizationError(f"{authorization.name}: the CA did not validate the name and gave no reason")


async def _deactivate(wire: Wire, signer: Signer) -> None:
    """Deactivate the account (RFC 8555 §7.3.6): nobody needs it any more. A CA that refuses has one more account."""
    if signer.account is not None:
        with contextlib.suppress(AcmeError):
            await wire.post(signer, signer.account, {"status": "deactivated"})


def _ignore(_: str) -> None:
    """Do nothing with a warning about the files of the account: they exist for this order only."""
