"""Answers to challenges that a running daemon gives for a command."""

import contextlib
from pathlib import Path
from urllib.parse import urlencode

from facaded.admin import control_client
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import ControlError, NoDaemonError, OlderDaemonError
from facaded.admin.protocol import ChallengesAnswered
from facaded.net.reactor import IFacadedReactor
from facaded.tls.acme.dry_runs import AnswerError
from facaded.tls.acme.settings import ChallengeKind

OLDER = (
    "the running daemon does not answer challenges for this command: restart the daemon, which is of an older version"
)


class DaemonAnswers:
    """Publishes answers through the control socket at `path`. All methods raise AnswerError."""

    description = "the running daemon"

    def __init__(self, reactor: IFacadedReactor, path: Path) -> None:
        self._reactor = reactor
        self._path = path

    def why_not(self, kind: ChallengeKind) -> str | None:
        """Return None: the daemon's listeners answer both kinds."""

    async def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Let the daemon answer a challenge."""
        parameters = {"kind": kind.value, "name": name, "token": token, "key_authorization": key_authorization}
        await self._ask(f"/answer-challenge?{urlencode(parameters)}")

    async def withdraw(self) -> None:
        """Let the daemon answer none of them any more."""
        await self._ask("/withdraw-challenges")

    async def close(self) -> None:
        """Withdraw the answers. A daemon that has ended meanwhile gives none any more."""
        with contextlib.suppress(AnswerError):
            await self.withdraw()

    async def is_running(self) -> bool:
        """Return whether a daemon is there. Raises AnswerError if it cannot be asked."""
        try:
            await self.withdraw()
        except AnswerError as error:
            if isinstance(error.__cause__, NoDaemonError):
                return False
            raise
        return True

    async def _ask(self, resource: str) -> None:
        try:
            await control_client.ask(self._reactor, self._path, "POST", resource, ChallengesAnswered)
        except CommandRefusedError as error:
            raise AnswerError(f"the running daemon does not answer challenges for this command: {error}") from None
        except OlderDaemonError:
            raise AnswerError(OLDER) from None
        except ControlError as error:
            raise AnswerError(str(error)) from error
