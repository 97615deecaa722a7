"""What a pull would be answered, request by request, and by which rule: the function that decides answers is asked."""

from collections.abc import Callable

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.oci.clients import Client, called
from facaded.oci.errors import Refusal
from facaded.oci.requests import Blob, Image, ManifestRead, Ping, Read, parse_image
from facaded.policy.decision import Answer, Forward, Page, Pong, Redirect, RoutingState, Rules, Serve, decide, rule
from facaded.policy.health import Purpose

ANY_DIGEST = "sha256:" + "0" * 64
"""Stands for the digest of a layer: which one it is decides nothing."""


@frozen
class Explained:
    """One request of a pull: what is asked, what is answered, and why.

    `purpose` is what the backend in the answer is active of; None if the request is refused.
    """

    request: str
    answer: str
    why: str
    purpose: Purpose | None


@frozen
class ExplainedRequest:
    """One request of a pull, as the control socket and `--json` have it."""

    request: str
    answer: str
    why: str


@frozen
class Explanation(Document):
    """What a pull of `image` by `client` is answered. `why` names the active backend; None if the pull is `refused`."""

    image: str
    client: str
    requests: tuple[ExplainedRequest, ...]
    refused: bool
    why: str | None


def split_image(text: str) -> tuple[str, Image]:
    """Split a reference as people type it, `docker.example.com/org/img:tag`, into host and image.

    Without a host, the host is empty. As in Docker, what comes before the first slash is a host if it has a dot or a
    colon in it or is localhost. Raises ValueError.
    """
    host, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    return (host, parse_image(rest)) if is_host else ("", parse_image(text))


def explain(host: str, image: Image, client: Client, rules: Rules, routing: RoutingState) -> tuple[Explained, ...]:
    """Say what each request of a pull is answered. If `host` is empty, the first name of the facade is used."""
    manifest, blob = ManifestRead(image.name, image.reference), Blob(image.name, ANY_DIGEST)
    asked: tuple[Ping | Read, ...] = (Ping(), manifest, blob) if client.begins_with_ping else (manifest, blob)
    found = []
    for request in asked:
        answer = decide(request, host or next(iter(rules.hosts), ""), client, rules, routing)
        refused, redirected = isinstance(answer, Refusal), isinstance(answer, Redirect)
        why = "refused" if refused else rule(request, client, rules, routing).value
        purpose = None if refused else Purpose.REDIRECT if redirected else Purpose.SERVE
        found.append(Explained(f"GET {_shown(request.path)}", _shown(_words(answer)), why, purpose))
    return tuple(found)


def explain_pull(
    image: str,
    client: str,
    rules: Rules,
    routing: RoutingState,
    explain_active: Callable[[tuple[str, ...], Purpose], str],
) -> Explanation:
    """Explain a pull as a person names it.

    `explain_active` is called with a route's backends, and says which of them is active and why. Raises ValueError with
    a sentence if there can be no such image or client.
    """
    host, parsed = split_image(image)
    requests = explain(host, parsed, called(client), rules, routing)
    purpose = requests[-1].purpose
    return Explanation(
        image=str(parsed),
        client=client,
        requests=tuple(ExplainedRequest(each.request, each.answer, each.why) for each in requests),
        refused=purpose is None,
        why=explain_active(rules.routes[rules.route(parsed.name)].backends, purpose) if purpose else None,
    )


def _words(answer: Answer) -> str:
    assert not isinstance(answer, Page), "no pull asks for it"
    match answer:
        case Redirect():
            return f"307 to {answer.location}"
        case Serve():
            first, *others = answer.backends
            return ", else ".join([f"served from {first}", *others])
        case Forward():
            return f"forwarded to {answer.backend} with the client's own credentials"
        case Pong():
            return "200: a registry is here"
        case _:
            return f"{answer.status} {answer.code.value}: {answer.message}"


def _shown(text: str) -> str:
    return text.replace(ANY_DIGEST, "<digest>")
