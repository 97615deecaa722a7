"""Answers to challenges that an operator publishes for a test, through the commands of the control socket."""

import json
from urllib.parse import urlencode

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent
from twisted.internet.task import Clock

from facaded.admin.challenge_commands import ChallengeCommands
from facaded.admin.control import Control
from facaded.admin.control_client import URL
from facaded.net.client import BoundedClient
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import Challenges, OrderChallenges
from facaded.tls.operator_answers import ANSWER_TIME, MOST_ANSWERS, OperatorAnswers
from facaded.tls.server_certificate import UnusableError

NAME, TOKEN, ANSWER = "docker.example.com", "token", "token.thumbprint"
HTTP, ALPN = ChallengeKind.HTTP, ChallengeKind.TLS_ALPN


def test_an_answer_is_withdrawn_by_command_or_after_a_while() -> None:
    clock = Clock()
    answers = OperatorAnswers(clock, Challenges())
    challenges = Challenges(answers.challenges)
    answers.publish(HTTP, NAME, TOKEN, ANSWER)
    assert challenges.answer(TOKEN) == b"token.thumbprint"
    answers.withdraw()
    assert challenges.answer(TOKEN) is None
    assert clock.getDelayedCalls() == []
    answers.publish(HTTP, NAME, TOKEN, ANSWER)
    clock.advance(ANSWER_TIME - 1)
    answers.publish(HTTP, NAME, "second", "second.thumbprint")
    clock.advance(ANSWER_TIME - 1)
    assert challenges.answer(TOKEN) == b"token.thumbprint", "counted from the last one"
    clock.advance(1)
    assert challenges.answer(TOKEN) is None
    assert challenges.answer("second") is None


def test_the_answers_of_the_daemons_own_orders_come_first_and_stay() -> None:
    answers = OperatorAnswers(Clock(), Challenges())
    challenges = Challenges(answers.challenges)
    own = OrderChallenges(challenges)
    answers.publish(HTTP, NAME, TOKEN, "token.operator")
    own.publish(HTTP, NAME, TOKEN, ANSWER)
    assert challenges.answer(TOKEN) == b"token.thumbprint"
    answers.withdraw()
    assert challenges.answer(TOKEN) == b"token.thumbprint"
    own.withdraw()
    assert challenges.answer(TOKEN) is None


@pytest.mark.parametrize(
    ("name", "token", "key_authorization"),
    [
        (NAME, "", ANSWER),
        (NAME, "../token", ANSWER),
        (NAME, "x" * 129, ANSWER),
        (NAME, TOKEN, "token"),
        (NAME, TOKEN, "token.thumb print"),
        (NAME, TOKEN, "token." + "x" * 129),
        ("*.example.com", TOKEN, ANSWER),
        ("", TOKEN, ANSWER),
        ("a\nb", TOKEN, ANSWER),
    ],
)
def test_what_is_malformed_is_refused(name: str, token: str, key_authorization: str) -> None:
    answers = OperatorAnswers(Clock(), Challenges())
    with pytest.raises(UnusableError):
        answers.publish(HTTP, name, token, key_authorization)
    assert answers.challenges.answer(token) is None


def test_there_is_a_limit_until_they_are_withdrawn() -> None:
    answers = OperatorAnswers(Clock(), Challenges())
    for number in range(MOST_ANSWERS):
        answers.publish(HTTP, NAME, f"token-{number}", ANSWER)
    with pytest.raises(UnusableError, match="more than 200 answers"):
        answers.publish(HTTP, NAME, TOKEN, ANSWER)
    answers.withdraw()
    answers.publish(HTTP, NAME, TOKEN, ANSWER)


@pytest_twisted.ensureDeferred
async def test_the_commands_publish_withdraw_and_refuse() -> None:
    answers = OperatorAnswers(Clock(), Challenges())
    client = BoundedClient(URL, RequestTraversalAgent(Control(ChallengeCommands(answers).table)))

    async def post(path: str, **parameters: str) -> tuple[int, object]:
        response = await client.ask("POST", f"{URL}{path}?{urlencode(parameters)}", headers={}, limit=10_000)
        return response.status, json.loads(response.body)

    challenge = {"kind": "http-01", "name": NAME, "token": TOKEN, "key_authorization": ANSWER}
    assert await post("/answer-challenge", **challenge) == (200, {"schema": 1})
    assert answers.challenges.answer(TOKEN) == b"token.thumbprint"
    assert (await post("/withdraw-challenges"))[0] == 200
    assert answers.challenges.answer(TOKEN) is None
    status, refusal = await post("/answer-challenge", **{**challenge, "kind": "dns-01"})
    assert (status, refusal) == (
        409,
        {"schema": 1, "problems": ["challenge not answered: 'dns-01' is not a valid ChallengeKind"]},
    )
    assert (await post("/answer-challenge", **{**challenge, "token": "a b"}))[0] == 409
