"""What a CA says, as frozen classes. Nothing of it is believed: every field has a type, a bound and a form.

All `read_` functions take JSON and raise DocumentError if it is not what it must be.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from attrs import frozen

from facaded.net import urls
from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.net.urls import UrlError
from facaded.tls.acme.problems import AcmeError, ProblemDocument, read
from facaded.tls.acme.settings import MOST_NAMES, ChallengeKind
from facaded.tls.window import Window

Document = Mapping[str, object]

URL_LENGTH = 2048
"""Characters of a CA's URL; those of real ones have some 100."""

CHALLENGES = 20
"""Challenges of one authorization that are looked at: there are four kinds."""

PROFILES = 20
"""Profiles of a CA that are looked at; Let's Encrypt has three."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FRACTION = re.compile(r"\.\d+")


class DocumentError(AcmeError):
    """A CA has said what cannot be right."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the CA's answer cannot be right: {what}: ask the CA, or take another in [[tls.acme.ca]]")


@frozen
class Directory:
    """Where a CA wants its requests (RFC 8555 §7.1.1), and what it says of itself."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str | None = None
    profiles: tuple[str, ...] = ()
    account_required: bool = False


@frozen
class CertificateOrder:
    """An order (§7.1.3). `finalize` is where its request is sent, `certificate` where its certificate is."""

    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    problem: ProblemDocument | None = None


@frozen
class ValidationChallenge:
    """A challenge of a kind that can be answered here (§8)."""

    kind: ChallengeKind
    url: str
    token: str
    status: str
    problem: ProblemDocument | None = None


@frozen
class IdentifierAuthorization:
    """An authorization (§7.1.4) for `name`, with those of its challenges that can be answered here."""

    status: str
    name: str
    challenges: tuple[ValidationChallenge, ...]
    wildcard: bool = False


@frozen
class Suggestion:
    """When a CA suggests to renew a certificate, and where it says why (RFC 9773 §4.2)."""

    window: Window
    explanation: str | None = None


def parse(body: bytes) -> Document:
    """A body as a JSON document. Raises DocumentError if it is none."""
    document = read_object(body)
    if document is None:
        raise DocumentError("it is no JSON document")
    return document


def read_directory(document: Document) -> Directory:
    meta = document.get("meta")
    about = meta if isinstance(meta, dict) else {}
    profiles = about.get("profiles")
    names = list(profiles)[:PROFILES] if isinstance(profiles, dict) else []
    return Directory(
        _url(document, "newNonce"),
        _url(document, "newAccount"),
        _url(document, "newOrder"),
        _url(document, "renewalInfo") if "renewalInfo" in document else None,
        tuple(printable(name) for name in names),
        about.get("externalAccountRequired") is True,
    )


def read_order(document: Document) -> CertificateOrder:
    listed = document.get("authorizations")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_NAMES:
        raise DocumentError("an order without authorizations, or with too many")
    status = _text(document, "status")
    return CertificateOrder(
        status,
        tuple(lawful(each, "an authorization") for each in listed),
        _url(document, "finalize"),
        _url(document, "certificate") if status == "valid" else None,
        read(document.get("error")),
    )


def read_authorization(document: Document) -> IdentifierAuthorization:
    identifier, listed = document.get("identifier"), document.get("challenges")
    if not isinstance(identifier, dict) or identifier.get("type") != "dns" or not isinstance(listed, list):
        raise DocumentError("an authorization that is for no name or has no challenges")
    return IdentifierAuthorization(
        _text(document, "status"),
        _text(identifier, "value").lower(),
        tuple(_challenge(each) for each in listed[:CHALLENGES] if _kind(each) is not None),
        document.get("wildcard") is True,
    )


def read_suggestion(document: Document) -> Suggestion:
    window = document.get("suggestedWindow")
    if not isinstance(window, dict):
        raise DocumentError("renewal information without a window")
    begins, ends = _moment(window, "start"), _moment(window, "end")
    if begins >= ends:  # RFC 9773 §4.2: such a window is to be treated as if there were none
        raise DocumentError("a window for renewal that ends before it begins")
    explanation = document.get("explanationURL")
    shown = explanation if isinstance(explanation, str) and is_lawful(explanation) else None
    return Suggestion(Window(begins, ends), shown)


def lawful(url: object, what: str) -> str:
    """A CA's URL. Raises DocumentError if it is not one of https, short and without user-info."""
    if not is_lawful(url):
        raise DocumentError(f"{what} at what is no https URL")
    assert isinstance(url, str)
    return url


def is_lawful(url: object) -> bool:
    """Whether this is a URL of https that may be asked and shown."""
    try:
        return isinstance(url, str) and bool(urls.check(url, secure=True, longest=URL_LENGTH))
    except UrlError:
        return False


def is_nonce(text: str) -> bool:
    """Whether this is a nonce that may be sent back (RFC 8555 §6.5.1)."""
    return _NONCE.fullmatch(text) is not None


def _challenge(document: Document) -> ValidationChallenge:
    kind, token = _kind(document), _text(document, "token")
    assert kind is not None
    if not _TOKEN.fullmatch(token):
        raise DocumentError("a challenge whose token is not in base64url")
    return ValidationChallenge(
        kind, _url(document, "url"), token, _text(document, "status"), read(document.get("error"))
    )


def _kind(document: object) -> ChallengeKind | None:
    said = document.get("type") if isinstance(document, dict) else None
    return next((kind for kind in ChallengeKind if kind.value == said), None)


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise DocumentError(f"{key} is no text")
    return value


def _url(document: Document, key: str) -> str:
    return lawful(document.get(key), key)


def _moment(document: Document, key: str) -> float:
    """A time of RFC 3339, in seconds since the epoch; Python reads no more than six digits of a second's fraction."""
    try:
        at = datetime.fromisoformat(_FRACTION.sub("", _text(document, key)[:40].upper()))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise DocumentError(f"{key} is no time") from None
