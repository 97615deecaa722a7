"""What a pull would be answered, request by request, and by which rule: the answers' own function is asked."""

from attrs import frozen

from facaded.oci.clients import Client
from facaded.oci.errors import Refusal
from facaded.oci.requests import Blob, Image, Manifest, Ping, Read, parse_image
from facaded.policy.answers import Answer, Forward, Page, Pong, Redirect, Rules, Serve, Situation, decide, rule
from facaded.policy.health import Purpose

ANY_DIGEST = "sha256:" + "0" * 64
"""Stands for the digest of a layer: which one it is decides nothing."""


@frozen
class Explained:
    """One request of a pull: what is asked, what is answered, and why.

    `purpose` is what the backend is in charge for that the answer names; None if it is refused.
    """

    request: str
    answer: str
    why: str
    purpose: Purpose | None


def split_image(text: str) -> tuple[str, Image]:
    """A reference as people type it, `docker.example.com/org/img:tag` or without a host; the host is empty then.

    What comes before the first slash is a host if it has a dot or a colon in it or is localhost, as Docker has it.
    Raises ValueError.
    """
    host, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
    return (host, parse_image(rest)) if is_host else ("", parse_image(text))


def explain(host: str, image: Image, client: Client, rules: Rules, situation: Situation) -> tuple[Explained, ...]:
    """Say what each request of a pull is answered. An empty `host` is the first that is answered for."""
    manifest, blob = Manifest(image.name, image.reference), Blob(image.name, ANY_DIGEST)
    asked: tuple[Ping | Read, ...] = (Ping(), manifest, blob) if client.begins_with_ping else (manifest, blob)
    found = []
    for request in asked:
        answer = decide(request, host or next(iter(rules.hosts), ""), client, rules, situation)
        refused, redirected = isinstance(answer, Refusal), isinstance(answer, Redirect)
        why = "refused" if refused else rule(request, client, rules, situation).value
        purpose = None if refused else Purpose.REDIRECT if redirected else Purpose.SERVE
        found.append(Explained(f"GET {_shown(request.path)}", _shown(_words(answer)), why, purpose))
    return tuple(found)


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
