"""The problems that a CA reports (RFC 8555 §6.7, RFC 7807), as messages that tell an operator what to do."""

import re
from collections.abc import Callable, Mapping

from attrs import frozen

from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.tls.acme.schedule import FailureCause
from facaded.tls.acme.settings import ChallengeKind

PREFIX = "urn:ietf:params:acme:error:"

MAX_SUBPROBLEMS = 10
"""The most subproblems of one problem that are read: more would make an unreadable message."""

TYPE_LENGTH = 60
"""Characters of a problem's type that are kept: the RFC's have at most 25."""

BAD_NONCE = "badNonce"
ORDER_NOT_READY = "orderNotReady"

RATE_LIMITED = 429
"""The status of an answer to a client that has asked too often (RFC 6585 §4)."""

DETAIL_LENGTH = 2000
"""Characters of a problem's text that are shown: that of a paused account has a link of 700 characters."""

MESSAGE_LENGTH = 4000
"""Characters of a message with the texts of several subproblems."""


_DNS_FAILURE = re.compile(
    r"no such host|NXDOMAIN|SERVFAIL|server misbehaving|DNS problem|\blookup \S+|could not (?:be )?resolve",
    re.IGNORECASE,
)
"""What CAs say of a name that cannot be looked up: Boulder, pebble and others in Go, and step-ca."""


class AcmeError(Exception):
    """No certificate could be obtained; the text says why. `retry_after` is in seconds, 0 if the CA did not send one.

    `ca_unavailable` is true if the CA could not be reached, or reported an error of its own (5xx); `is_rate_limit` if
    it was asked too often (429).
    """

    is_rate_limit = False

    def __init__(self, message: str, *, retry_after: float = 0.0, ca_unavailable: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.ca_unavailable = ca_unavailable


class OrderEndedError(AcmeError):
    """An order has ended without a usable certificate: nothing would come of it any more."""

    def __init__(self, message: str, cause: FailureCause) -> None:
        super().__init__(message)
        self.cause = cause


@frozen
class ProblemDocument:
    """A problem document. `kind` is its type without the prefix, `name` the identifier that it is about, if any."""

    kind: str
    detail: str = ""
    name: str | None = None
    subproblems: tuple["ProblemDocument", ...] = ()
    instance: str | None = None


class AcmeProblemError(AcmeError):
    """A CA has answered a request with a problem document."""

    def __init__(self, problem: ProblemDocument, status: int, retry_after: float = 0.0) -> None:
        super().__init__(describe(problem), retry_after=retry_after, ca_unavailable=status >= 500)
        self.problem = problem
        self.status = status
        self.is_rate_limit = status == RATE_LIMITED

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may succeed later."""
        return self.ca_unavailable or self.is_rate_limit or self.problem.kind == ORDER_NOT_READY


def parse(body: bytes, status: int) -> ProblemDocument:
    """Return the problem document in a body; if there is none, one that names the status."""
    return read(read_object(body)) or ProblemDocument("", f"HTTP status {status} without a reason")


def read(document: object) -> ProblemDocument | None:
    """Return the problem document in a JSON value, or None if it is not an object."""
    return _read_problem(document, MAX_SUBPROBLEMS)


def describe(problem: ProblemDocument, name: str | None = None, kind: ChallengeKind | None = None) -> str:
    """Return what is wrong and what to do. `name` was being authorized, with a challenge of `kind`."""
    if problem.subproblems:
        parts = dict.fromkeys(describe(subproblem, name, kind) for subproblem in problem.subproblems)
        return "; ".join(parts)[:MESSAGE_LENGTH]
    subject = problem.name or name
    if kind is not None and _is_about_dns(problem):
        message = _MESSAGES["dns"]
    elif kind is not None and problem.kind in _CHALLENGE_MESSAGES:
        message = _CHALLENGE_MESSAGES[problem.kind](kind)
    else:
        code = f" ({problem.kind})" if problem.kind else ""
        message = _MESSAGES.get(problem.kind) or f"the CA refuses the request{code}"
    prefix = f"{subject}: " if subject else ""
    terms = f" ({problem.instance})" if problem.kind == "userActionRequired" and problem.instance else ""
    detail = f" (the CA says: {problem.detail})" if problem.detail else ""
    return f"{prefix}{message}{terms}{detail}"


def _read_problem(document: object, max_subproblems: int) -> ProblemDocument | None:
    if not isinstance(document, dict):
        return None
    value = document.get("subproblems")
    parts = value[:max_subproblems] if isinstance(value, list) else []
    subproblems = (_read_problem(part, 0) for part in parts)
    return ProblemDocument(
        printable(_text(document, "type").removeprefix(PREFIX))[:TYPE_LENGTH],
        printable(_text(document, "detail"), DETAIL_LENGTH),
        _identifier(document),
        tuple(subproblem for subproblem in subproblems if subproblem is not None),
        printable(_text(document, "instance"), DETAIL_LENGTH) or None,
    )


def _text(document: Mapping[str, object], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _identifier(document: Mapping[str, object]) -> str | None:
    identifier = document.get("identifier")
    value = identifier.get("value") if isinstance(identifier, dict) else None
    return printable(value) if isinstance(value, str) and value else None


def _is_about_dns(problem: ProblemDocument) -> bool:
    """Return whether a name could not be looked up: some CAs report that as a connection that failed."""
    return problem.kind == "connection" and _DNS_FAILURE.search(problem.detail) is not None


def _unreachable_port(kind: ChallengeKind) -> str:
    return f"the CA could not reach port {kind.port}: open it, or use {kind.other.value}"


def _wrong_answer(kind: ChallengeKind) -> str:
    return (
        f"the CA did not get facaded's answer on port {kind.port}: route that port to facaded for every address of "
        f"the name, or use {kind.other.value}"
    )


def _tls_failure(kind: ChallengeKind) -> str:
    if kind is ChallengeKind.HTTP:
        return "the CA was redirected to a port where TLS fails: route port 80 to facaded"
    return "the CA reached port 443, but TLS failed: remove any proxy that ends TLS before facaded, or use http-01"


_CHALLENGE_MESSAGES: Mapping[str, Callable[[ChallengeKind], str]] = {
    "connection": _unreachable_port,
    "incorrectResponse": _wrong_answer,
    "unauthorized": _wrong_answer,
    "tls": _tls_failure,
}

_MESSAGES: Mapping[str, str] = {
    "accountDoesNotExist": "the CA no longer knows facaded's account: retrying",
    "alreadyReplaced": "another order has already renewed this certificate",
    "badCSR": "the CA refuses the key or the names of the request",
    "badNonce": "the CA refuses every nonce that it sends: try again later, or ask the CA",
    "badPublicKey": "the CA does not accept ECDSA P-256 keys: configure another CA",
    "badSignatureAlgorithm": "the CA does not accept ES256 signatures: configure another CA",
    "caa": "a CAA record forbids this CA: add this CA to the name's records, or configure another in [[tls.acme.ca]]",
    "dns": (
        "the CA found no address: publish an A or AAAA record that points to facaded, and check that the name servers "
        "answer"
    ),
    "dnssec": "DNSSEC for this name is broken: fix it at its name servers",
    "externalAccountRequired": (
        "this CA requires an external account: set eab_key_id and eab_hmac_key_file in [[tls.acme.ca]]"
    ),
    "invalidContact": "the CA refuses tls.acme.email: correct it, or remove it",
    "invalidProfile": "the CA has no such profile: correct `profile` in [[tls.acme.ca]], or remove it",
    "rateLimited": "rate-limited by the CA: retrying when the CA allows it",
    "rejectedIdentifier": "the CA does not issue certificates for this name: use public names that you own",
    "serverInternal": "the CA reports an internal error: retrying",
    "unauthorized": "the CA does not allow this to facaded's account: ask the CA",
    "unsupportedContact": "the CA does not support tls.acme.email: remove it",
    "unsupportedIdentifier": "the CA does not issue certificates for this type of name",
    "userActionRequired": "the CA requires an action by you first, usually to agree to new terms",
}
