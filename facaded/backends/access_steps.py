"""The first steps of a probe: `GET /v2/`, which says what authentication is required, and a token for the canary."""

from functools import partial

from facaded.backends import manifest_steps
from facaded.backends.failures import RealmError, describe_status
from facaded.backends.probe_requests import (
    ProbeRequests,
    Question,
    StepFailedError,
    failed_step,
    unexpected_content,
)
from facaded.backends.tokens import build_token_url, read_token
from facaded.net.client import Response
from facaded.net.json_objects import is_json
from facaded.oci import www_authenticate
from facaded.oci.requests import Image
from facaded.oci.www_authenticate import Challenge
from facaded.policy.health import Step, Verdict

BODY_SIZE = 64 << 10
"""Largest response to a probe in bytes: error documents and tokens have a few kilobytes."""

Challenges = tuple[Challenge, ...]
"""The challenges of a registry; none if it requires no authentication."""


async def ask_ping(requests: ProbeRequests) -> Challenges:
    """Send `GET /v2/` and return the challenges. Raises StepFailedError, or what Twisted raises."""
    return await requests.ask(Question("GET", f"{requests.url}/v2/", {}, _judge_ping, BODY_SIZE))


def find_bearer(challenges: Challenges) -> Challenge | None:
    """Return the challenge that names a token server, if there is one."""
    return next((challenge for challenge in challenges if challenge.scheme == "bearer"), None)


async def ask_token(requests: ProbeRequests, bearer: Challenge, canary: Image | None, canary_seen: bool) -> str:
    """Ask for a token, which `requests` use from then on, and return what is said about it.

    Raises StepFailedError or DriftError, or what Twisted raises.
    """
    scope = f"repository:{canary.name}:pull" if canary else None
    try:
        url = build_token_url(bearer, requests.url, scope)
    except RealmError as error:
        raise StepFailedError(Verdict.BAD, str(error)) from None
    judge = partial(_judge_token, canary is not None, canary_seen)
    token, reason = await requests.ask(Question("GET", url, {"Accept": "application/json"}, judge, BODY_SIZE))
    requests.authorization = f"Bearer {token}" if token else ""
    return reason


def _judge_ping(response: Response) -> Challenges:
    if response.status == 200:
        if response.body.strip() and not is_json(response.body):
            raise unexpected_content(response, "registry")
        return ()
    if response.status != 401:
        raise failed_step(response)
    values = response.values("WWW-Authenticate")
    challenges = tuple(challenge for value in values for challenge in www_authenticate.parse(value))
    if not challenges:
        raise StepFailedError(Verdict.BAD, "401 without a WWW-Authenticate challenge")
    return challenges


def _judge_token(has_canary: bool, canary_seen: bool, response: Response) -> tuple[str, str]:
    """Return the token and what is said about it. Without a canary, a refusal is good: the token server works."""
    if response.status == 429 or response.status >= 500:
        raise failed_step(response)
    if response.status != 200 and has_canary:
        raise manifest_steps.refuse_canary(Step.TOKEN, response.status, canary_seen, "token server ")
    if response.status != 200:
        return "", describe_status(response)
    token = read_token(response)
    if token is None:
        raise StepFailedError(Verdict.BAD, "no token in the response")
    return token[0], "token granted"
