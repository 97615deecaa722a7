"""What a CA says is wrong (RFC 8555 §6.7, problem documents of RFC 7807), as sentences that an operator can act on."""

from collections.abc import Callable, Mapping

from attrs import frozen

from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.tls.acme.settings import ChallengeKind

PREFIX = "urn:ietf:params:acme:error:"

SUBPROBLEMS = 10
"""Subproblems of one problem that are read: as many as fit into a sentence that somebody reads."""

TYPE_LENGTH = 60
"""Characters of a problem's type that are kept: those of the RFC have at most 25."""

RATE_LIMITED = "rateLimited"
BAD_NONCE = "badNonce"


class AcmeError(Exception):
    """No certificate could be obtained. The text is a sentence; `retry_after` is in seconds, 0 if the CA did not say.

    `ill` is whether the CA could not be reached, or answered that it has an error of its own.
    """

    def __init__(self, words: str, *, retry_after: float = 0.0, ill: bool = False) -> None:
        super().__init__(words)
        self.retry_after = retry_after
        self.ill = ill


@frozen
class ProblemDocument:
    """A problem document. `kind` is its type without the prefix, `name` the identifier that it is about, if any."""

    kind: str
    detail: str = ""
    name: str | None = None
    subproblems: tuple["ProblemDocument", ...] = ()
    instance: str | None = None


class AcmeProblemError(AcmeError):
    """A CA has answered a request with a problem."""

    def __init__(self, problem: ProblemDocument, status: int, retry_after: float = 0.0) -> None:
        super().__init__(sentence(problem), retry_after=retry_after, ill=status >= 500)
        self.problem = problem
        self.status = status


def parse(body: bytes, status: int) -> ProblemDocument:
    """The problem document of an answer's body; one that says the status if there is none."""
    return read(read_object(body)) or ProblemDocument("", f"it answered {status} without a reason")


def read(document: object) -> ProblemDocument | None:
    """A problem document, or None if it is none."""
    return _problem(document, SUBPROBLEMS)


def sentence(problem: ProblemDocument, name: str | None = None, kind: ChallengeKind | None = None) -> str:
    """What is wrong and what to do; `name` is what was being authorized, with a challenge of `kind`."""
    if problem.subproblems:
        return "; ".join(dict.fromkeys(sentence(each, name, kind) for each in problem.subproblems))
    about = problem.name or name
    if kind is not None and problem.kind in _IN_CHALLENGES:
        words = _IN_CHALLENGES[problem.kind](kind)
    else:
        words = _WORDS.get(problem.kind) or f"the CA refuses{f' ({problem.kind})' if problem.kind else ''}"
    prefix = f"{about}: " if about else ""
    terms = f" ({problem.instance})" if problem.kind == "userActionRequired" and problem.instance else ""
    return f"{prefix}{words}{terms}{_said(problem)}"


def _problem(document: object, subproblems: int) -> ProblemDocument | None:
    if not isinstance(document, dict):
        return None
    parts = document.get("subproblems")
    listed = parts[:subproblems] if isinstance(parts, list) else []
    inner = (_problem(part, 0) for part in listed)
    return ProblemDocument(
        printable(_text(document, "type").removeprefix(PREFIX))[:TYPE_LENGTH],
        printable(_text(document, "detail")),
        _identifier(document),
        tuple(part for part in inner if part is not None),
        printable(_text(document, "instance")) or None,
    )


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _identifier(document: Mapping[str, object]) -> str | None:
    identifier = document.get("identifier")
    value = identifier.get("value") if isinstance(identifier, dict) else None
    return printable(value) if isinstance(value, str) and value else None


def _said(problem: ProblemDocument) -> str:
    return f" (the CA says: {problem.detail})" if problem.detail else ""


def _unreached(kind: ChallengeKind) -> str:
    return f"the CA could not reach port {kind.port}: open it, or use {kind.other.value}"


def _wrong_answer(kind: ChallengeKind) -> str:
    return (
        f"the CA did not get facaded's answer on port {kind.port}: let that port of every address of the name lead to "
        f"facaded, or use {kind.other.value}"
    )


def _no_tls(kind: ChallengeKind) -> str:
    if kind is ChallengeKind.HTTP:
        return "the CA was sent on to a port where TLS fails: let port 80 lead to facaded itself"
    return "the CA reached port 443, but TLS failed: let no proxy end TLS before facaded, or use http-01"


_IN_CHALLENGES: Mapping[str, Callable[[ChallengeKind], str]] = {
    "connection": _unreached,
    "incorrectResponse": _wrong_answer,
    "unauthorized": _wrong_answer,
    "tls": _no_tls,
}

_WORDS: Mapping[str, str] = {
    "accountDoesNotExist": "the CA does not know facaded's account any more",
    "alreadyReplaced": "the CA has seen this certificate renewed already",
    "badCSR": "the CA refuses the request's key or names",
    "badNonce": "the CA refuses every nonce that it gives: try again later, or ask the CA",
    "badPublicKey": "the CA refuses facaded's ECDSA P-256 key: take another CA",
    "badSignatureAlgorithm": "the CA refuses ES256 signatures: take another CA",
    "caa": "a CAA record forbids this CA: add the CA to the records of the name, or take another in [[tls.acme.ca]]",
    "dns": "the CA finds no address: publish an A or AAAA record that leads here, and see that its name servers answer",
    "dnssec": "DNSSEC of this name is broken: mend it at its name servers",
    "externalAccountRequired": "this CA wants an account: set eab_key_id and eab_hmac_key_file in [[tls.acme.ca]]",
    "invalidContact": "the CA refuses tls.acme.email: correct it, or take it out",
    "invalidProfile": "the CA has no such profile: correct `profile` in [[tls.acme.ca]], or take it out",
    "rateLimited": "a limit of the CA is reached: it is tried again when the CA allows it",
    "rejectedIdentifier": "the CA gives no certificate for this name: ask for names of your own that are public",
    "serverInternal": "the CA has an error of its own: it is tried again",
    "unauthorized": "the CA does not allow it to facaded's account",
    "unsupportedContact": "the CA refuses tls.acme.email: take it out",
    "unsupportedIdentifier": "the CA gives no certificate for this kind of name",
    "userActionRequired": "the CA wants something done by hand first, mostly that its new terms are agreed to",
}
