"""The JSON documents of a CA, as frozen classes. Every field is checked for its type, its size and its form.

All `read_` functions take JSON, and raise DocumentError if it is not valid.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from attrs import frozen

from facaded.net import urls
from facaded.net.addresses import canonical, is_address
from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.net.urls import UrlError
from facaded.tls.acme.problems import AcmeError, ProblemDocument, read
from facaded.tls.acme.settings import MOST_NAMES, ChallengeKind
from facaded.tls.window import Window

Document = Mapping[str, object]

URL_LENGTH = 2048
"""The most characters in a CA's URL; real ones have about 100."""

MAX_CHALLENGES = 20
"""The most challenges of one authorization that are read: there are four kinds."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FRACTION = re.compile(r"\.\d+")


class DocumentError(AcmeError):
    """A CA has sent an invalid response. `detail` says what is wrong with it."""

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the CA sent an invalid response: {detail}: ask the CA, or configure another one in [[tls.acme.ca]]"
        )


@frozen
class Directory:
    """The URLs of a CA's operations (RFC 8555 §7.1.1), and its metadata. `terms` is the URL of its terms of service."""

    new_nonce: str
    new_account: str
    new_order: str
    renewal_info: str | None = None
    profiles: tuple[str, ...] = ()
    account_required: bool = False
    terms: str | None = None


@frozen
class CertificateOrder:
    """An order (§7.1.3). Its request is sent to the URL `finalize`; its certificate is at the URL `certificate`."""

    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    problem: ProblemDocument | None = None


@frozen
class ValidationChallenge:
    """A challenge of a kind that facaded can answer (§8)."""

    kind: ChallengeKind
    url: str
    token: str
    status: str
    problem: ProblemDocument | None = None


@frozen
class IdentifierAuthorization:
    """An authorization (§7.1.4) for `name`, with those of its challenges that facaded can answer."""

    status: str
    name: str
    challenges: tuple[ValidationChallenge, ...]
    wildcard: bool = False


@frozen
class Suggestion:
    """When a CA suggests renewing a certificate, and the URL that explains why (RFC 9773 §4.2)."""

    window: Window
    explanation: str | None = None


def parse(body: bytes) -> Document:
    """Return the JSON object in a body. Raises DocumentError if there is none."""
    document = read_object(body)
    if document is None:
        raise DocumentError("the body is not a JSON object")
    return document


def read_directory(document: Document) -> Directory:
    meta = document.get("meta")
    metadata = meta if isinstance(meta, dict) else {}
    profiles = metadata.get("profiles")
    names = list(profiles) if isinstance(profiles, dict) else []
    return Directory(
        _url(document, "newNonce"),
        _url(document, "newAccount"),
        _url(document, "newOrder"),
        _url(document, "renewalInfo") if "renewalInfo" in document else None,
        tuple(printable(name) for name in names),
        metadata.get("externalAccountRequired") is True,
        _text(metadata, "termsOfService") if is_page(metadata.get("termsOfService")) else None,
    )


def read_order(document: Document) -> CertificateOrder:
    authorizations = document.get("authorizations")
    if not isinstance(authorizations, list) or not 0 < len(authorizations) <= MOST_NAMES:
        raise DocumentError("an order without authorizations, or with too many")
    status = _text(document, "status")
    return CertificateOrder(
        status,
        tuple(check_url(url, "an authorization") for url in authorizations),
        _url(document, "finalize"),
        _url(document, "certificate") if status == "valid" else None,
        read(document.get("error")),
    )


def read_authorization(document: Document) -> IdentifierAuthorization:
    identifier, challenges = document.get("identifier"), document.get("challenges")
    if not isinstance(identifier, dict) or not isinstance(challenges, list):
        raise DocumentError("an authorization without an identifier or without challenges")
    return IdentifierAuthorization(
        _text(document, "status"),
        _identified_name(identifier),
        tuple(
            _challenge(challenge) for challenge in challenges[:MAX_CHALLENGES] if _challenge_kind(challenge) is not None
        ),
        document.get("wildcard") is True,
    )


def read_suggestion(document: Document) -> Suggestion:
    window = document.get("suggestedWindow")
    if not isinstance(window, dict):
        raise DocumentError("renewal information without a window")
    start, end = _timestamp(window, "start"), _timestamp(window, "end")
    if start >= end:  # RFC 9773 §4.2: such a window counts as none
        raise DocumentError("a renewal window that ends before it starts")
    explanation = document.get("explanationURL")
    url = explanation if isinstance(explanation, str) and is_usable_url(explanation) else None
    return Suggestion(Window(start, end), url)


def write_identifiers(names: Iterable[str]) -> list[dict[str, str]]:
    """Return the identifiers of an order (RFC 8555 §7.4, RFC 8738 §3)."""
    return [{"type": "ip" if is_address(name) else "dns", "value": name} for name in names]


def check_url(url: object, subject: str) -> str:
    """Return a CA's URL of `subject`. Raises DocumentError unless it is a usable URL."""
    if not is_usable_url(url):
        raise DocumentError(f"the URL of {subject} is not a valid https URL")
    assert isinstance(url, str)
    return url


def is_usable_url(url: object) -> bool:
    """Return whether this is an https URL, short, printable and without user-info."""
    try:
        return isinstance(url, str) and bool(urls.check(url, secure=True, longest=URL_LENGTH))
    except UrlError:
        return False


def is_page(url: object) -> bool:
    """Return whether this is the URL of a page for people, which may be on plain HTTP."""
    try:
        return isinstance(url, str) and bool(urls.check(url, secure=False, longest=URL_LENGTH))
    except UrlError:
        return False


def is_nonce(text: str) -> bool:
    """Return whether this is a valid nonce (RFC 8555 §6.5.1)."""
    return _NONCE.fullmatch(text) is not None


def _identified_name(identifier: Document) -> str:
    """Return the DNS name or the address of an identifier (RFC 8555 §9.7.7, RFC 8738 §3), in the usual form."""
    name = canonical(_text(identifier, "value").lower())
    if identifier.get("type") != ("ip" if is_address(name) else "dns"):
        raise DocumentError("an authorization for neither a DNS name nor an IP address")
    return name


def _challenge(document: Document) -> ValidationChallenge:
    kind, token = _challenge_kind(document), _text(document, "token")
    assert kind is not None
    if not _TOKEN.fullmatch(token):
        raise DocumentError("a challenge whose token is not base64url")
    return ValidationChallenge(
        kind, _url(document, "url"), token, _text(document, "status"), read(document.get("error"))
    )


def _challenge_kind(document: object) -> ChallengeKind | None:
    name = document.get("type") if isinstance(document, dict) else None
    return next((kind for kind in ChallengeKind if kind.value == name), None)


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        raise DocumentError(f"{key} is not a string")
    return value


def _url(document: Document, key: str) -> str:
    return check_url(document.get(key), key)


def _timestamp(document: Document, key: str) -> float:
    """Return a time of RFC 3339 in seconds since the epoch, without its fraction: Python reads at most six digits."""
    try:
        time = datetime.fromisoformat(_FRACTION.sub("", _text(document, key)[:40].upper()))
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise DocumentError(f"{key} is not a time") from None
