"""A command lets a daemon answer challenges over its control socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.web.server import Site

from facaded.admin.challenge_commands import ChallengeCommands
from facaded.admin.control import Control
from facaded.admin.daemon_answers import DaemonAnswers
from facaded.tls.acme.dry_runs import AnswerError
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import Challenges
from facaded.tls.operator_answers import OperatorAnswers

HTTP, NAME = ChallengeKind.HTTP, "docker.example.com"
reactor: Any = installed_reactor


@asynccontextmanager
async def daemon(socket: Path, factory: Any) -> AsyncIterator[DaemonAnswers]:
    listener = reactor.listenUNIX(str(socket), factory)
    try:
        yield DaemonAnswers(reactor, socket)
    finally:
        await listener.stopListening()


class Deaf(Protocol):
    """Closes every connection."""

    def connectionMade(self) -> None:
        self.transport.loseConnection()  # type: ignore[union-attr]  # it is connected


@pytest_twisted.ensureDeferred
async def test_a_running_daemon_publishes_and_withdraws(tmp_path: Path) -> None:
    published = OperatorAnswers(reactor, Challenges())
    site = Site(Control(ChallengeCommands(published).table))
    async with daemon(tmp_path / "control.sock", site) as answers:
        assert await answers.is_running()
        assert answers.why_not(HTTP) is None
        await answers.publish(HTTP, NAME, "token", "token.thumb-print_")
        assert published.challenges.answer("token") == b"token.thumb-print_"
        with pytest.raises(AnswerError, match="challenge not answered: "):
            await answers.publish(HTTP, "*.example.com", "token", "token.thumbprint")
        await answers.close()
        assert published.challenges.answer("token") is None


@pytest_twisted.ensureDeferred
async def test_a_daemon_of_an_older_version_is_to_be_restarted(tmp_path: Path) -> None:
    async with daemon(tmp_path / "control.sock", Site(Control({}))) as answers:
        with pytest.raises(AnswerError, match="restart the daemon, which is of an older version"):
            await answers.is_running()


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_has_ended_is_not_running(tmp_path: Path) -> None:
    socket = tmp_path / "control.sock"
    assert not await DaemonAnswers(reactor, socket).is_running()
    async with daemon(socket, Factory.forProtocol(Deaf)) as answers:
        with pytest.raises(AnswerError, match="does not answer"):
            await answers.is_running()
        await answers.close()
