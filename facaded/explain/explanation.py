"""Explain how a pull would be answered, request by request, with the functions that decide the answers."""

from collections.abc import Callable

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.oci.clients import Client, find_client
from facaded.oci.errors import Refusal
from facaded.oci.requests import Blob, Image, ManifestRead, PageFile, Ping, Read, parse_image
from facaded.policy.decision import (
    Answer,
    Forward,
    OwnChallenge,
    OwnToken,
    Page,
    Pong,
    Redirect,
    RoutingState,
    Rules,
    Serve,
    choose_rule,
    decide,
)
from facaded.policy.health import Purpose

ANY_DIGEST = "sha256:" + "0" * 64
"""A placeholder for the digest of a layer: the answer does not depend on it."""


@frozen
class PullStep:
    """One request of a pull, its answer, and the reason.

    `purpose` is what the answer uses the backend for; None if the request is refused.
    """

    request: str
    answer: str
    why: str
    purpose: Purpose | None


@frozen
class ExplainedRequest:
    """One request of a pull in the JSON document."""

    request: str
    answer: str
    why: str


@frozen
class Explanation(Document):
    """How a pull of `image` by `client` is answered, as sent over the control socket and printed by `--json`.

    `why` says which backend is active and why; None if the pull is `refused`. `backends` is a sentence on the health of
    each backend of the route, `asked_again` one on each client that was redirected, asked again and is served now.
    `family` is what the client is called in the access log and the metrics.
    """

    image: str
    client: str
    requests: tuple[ExplainedRequest, ...]
    refused: bool
    why: str | None
    backends: tuple[str, ...] = ()
    asked_again: tuple[str, ...] = ()
    family: str = ""


def split_image(text: str) -> tuple[str, Image]:
    """Split an image reference such as `docker.example.com/org/app:tag` into host and image.

    The host is empty if the reference has none. As in Docker, the part before the first slash is a host if it has a
    dot or a colon or is `localhost`. Raises ValueError with a sentence.
    """
    host, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    return (host, parse_image(rest)) if is_host else ("", parse_image(text))


def explain(host: str, image: Image, client: Client, rules: Rules, routing: RoutingState) -> tuple[PullStep, ...]:
    """Return how each request of a pull is answered. An empty `host` stands for the first of `hosts`."""
    manifest, blob = ManifestRead(image.name, image.reference), Blob(image.name, ANY_DIGEST)
    requests: tuple[Ping | Read, ...] = (Ping(), manifest, blob) if client.begins_with_ping else (manifest, blob)
    steps = []
    for request in requests:
        answer = decide(request, host or next(iter(rules.hosts), ""), client, rules, routing)
        refused, redirected = isinstance(answer, Refusal), isinstance(answer, Redirect)
        why = "refused" if refused else choose_rule(request, client, rules, routing).value
        purpose = None if refused else Purpose.REDIRECT if redirected else Purpose.SERVE
        steps.append(PullStep(f"GET {_hide_digest(request.path)}", _hide_digest(_describe(answer)), why, purpose))
    return tuple(steps)


def explain_pull(
    image: str,
    client: str,
    rules: Rules,
    routing: RoutingState,
    explain_active: Callable[[tuple[str, ...], Purpose], str],
    explain_backend: Callable[[str], str] | None = None,
    explain_returns: Callable[[str, Client], tuple[str, ...]] | None = None,
) -> Explanation:
    """Explain the pull of an image by a client, both as a person names them.

    `explain_active` is called with a route's backends and a purpose, and returns a sentence that says which backend is
    active and why; `explain_backend` is called with a backend's name, `explain_returns` with the repository and the
    client. Raises ValueError with a sentence if the image or the client is invalid.
    """
    (host, parsed), identified = split_image(image), find_client(client)
    steps = explain(host, parsed, identified, rules, routing)
    purpose = steps[-1].purpose
    backends = rules.routes[rules.route_index(parsed.name)].backends
    return Explanation(
        image=str(parsed),
        client=client,
        requests=tuple(ExplainedRequest(step.request, step.answer, step.why) for step in steps),
        refused=purpose is None,
        why=explain_active(backends, purpose) if purpose else None,
        backends=tuple(map(explain_backend, backends)) if purpose and explain_backend else (),
        asked_again=explain_returns(parsed.name, identified) if purpose and explain_returns else (),
        family=identified.family.value,
    )


def _describe(answer: Answer) -> str:
    assert not isinstance(answer, Page | PageFile | OwnToken), "what is explained requests none of these"
    match answer:
        case Redirect():
            return f"307 to {answer.location}"
        case Serve():
            first, *others = answer.backends
            return ", else ".join([f"served from {first}", *others])
        case Forward():
            return f"forwarded to {answer.backend} with the client's credentials"
        case Pong():
            return "200, answered by the facade"
        case OwnChallenge():
            return "401, answered by the facade with its own challenge"
        case _:
            return f"{answer.status} {answer.code.value}: {answer.message}"


def _hide_digest(text: str) -> str:
    return text.replace(ANY_DIGEST, "<digest>")
