"""Parse a client's request: from a method and a raw request-target to a typed request, or to a refusal.

All requests go through `parse`. It refuses what it does not recognise and never guesses, so nothing unrecognised is
redirected: every value below is rebuilt from parts that match the grammar of the OCI distribution-spec v1.1.
"""

import re
from typing import TypeAlias

from attrs import field

from facaded.oci.errors import Code, Refusal
from facaded.oci.frozen_values import frozen

NAME_LENGTH = 255
"""Most characters of a repository name: Docker's limit, and the one that the distribution-spec recommends."""

TARGET_LENGTH = 8192
"""Most bytes of a request-target.

RFC 9112 §3 recommends support for 8000 at least. The longest valid path has under 500, which leaves the rest to the
query.
"""

ENCODED_LENGTHS = {"sha256": 64, "sha512": 128}
"""The digest algorithms that the image-spec registers, and how many hexadecimal digits each has."""

READS = ("GET", "HEAD")

METHODS = (b"GET", b"HEAD")
"""The same as they are sent."""

PAGE_FILES = ("/_facaded/page.css", "/_facaded/page.js")
"""The files of the page. They stand in no image's way, because its name begins with a letter or digit."""

TOKEN_PATH = "/token"  # noqa: S105  # nosec B105  # a path

QUERY_PARAMETERS = 50
"""Parameters in a query: the distribution-spec has `n`, `last` and any number of `artifactType`."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"([a-z0-9]+):([a-f0-9]+)")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


@frozen
class Home:
    """`GET /`, or the path of an image in a browser: the page for a person.

    `image` is the image reference that a browser has asked for, as it was written; empty for `/`. `is_browser` is
    whether the request accepts HTML.
    """

    image: str = ""
    is_browser: bool = False


@frozen
class PageFile:
    """A request for one of the files that the page consists of besides its HTML: one of `PAGE_FILES`."""

    path: str


@frozen
class Ping:
    """`GET /v2/`: the client checks for a registry and learns how to authenticate."""

    query: str = ""

    @property
    def path(self) -> str:
        return "/v2/"


@frozen
class TokenRequest:
    """`GET /token`: the realm of the facade's own challenge. Its answer does not depend on a query."""

    query: str = ""

    @property
    def path(self) -> str:
        return TOKEN_PATH


@frozen
class ManifestRead:
    """A request for a manifest of the repository `name`, by tag or digest."""

    name: str
    reference: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/manifests/{self.reference}"

    @property
    def is_by_digest(self) -> bool:
        """Whether the reference is a digest: a tag has no colon."""
        return ":" in self.reference


@frozen
class Blob:
    """A request for a blob of the repository `name`, by digest."""

    name: str
    digest: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/blobs/{self.digest}"


@frozen
class Tags:
    """A request for the tags of the repository `name`."""

    name: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/tags/list"


@frozen
class Referrers:
    """A request for the manifests of the repository `name` whose subject is `digest`."""

    name: str
    digest: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/referrers/{self.digest}"


Read: TypeAlias = ManifestRead | Blob | Tags | Referrers
"""A request to read from one repository."""

Request: TypeAlias = Home | PageFile | Ping | TokenRequest | Read


@frozen
class Image:
    """An image reference without a registry: `org/app`, `org/app:tag` or `org/app@sha256:…`."""

    name: str = field()
    reference: str = "latest"

    def __str__(self) -> str:
        return f"{self.name}{'@' if ':' in self.reference else ':'}{self.reference}"


def parse(method: bytes, target: bytes, host: bytes = b"", *, is_browser: bool = False) -> Request | Refusal:
    """Parse a request line. Never raises.

    `method` and `target` are the bytes of the request line, undecoded. `host` is the value of the Host header: a
    target in absolute form (RFC 9112 §3.2.2) is accepted only if it names the same authority. `is_browser` is whether
    the request accepts HTML; it makes no difference below /v2/.
    """
    if method not in METHODS:
        return Refusal(405, Code.UNSUPPORTED, "this registry is read-only: push to the registry behind it", allow=READS)
    if len(target) > TARGET_LENGTH:
        return Refusal(414, Code.UNSUPPORTED, f"the request-target is too long: send {TARGET_LENGTH} bytes at most")
    text = target.decode("latin-1")
    if not text.startswith("/") and (absolute := _ABSOLUTE.fullmatch(text)):
        authority, text = absolute.groups()
        if authority.lower() != host.decode("latin-1").strip().lower():
            return Refusal(421, Code.DENIED, "the request-target and the Host header name different hosts")
    path, has_query, query = text.partition("?")
    if not has_query:
        return _resource(path, "", is_browser)
    if not is_query(query):
        return Refusal(
            400, Code.UNSUPPORTED, "invalid query: send at most 50 parameters, percent-encoded as in RFC 3986"
        )
    return _resource(path, _without_namespace(query), is_browser)


def parse_image(text: str) -> Image:
    """Parse an image reference without a registry; unlike Docker, never add `library/`.

    Raises ValueError with a sentence that names the invalid part.
    """
    name, at, digest = text.partition("@")
    tag = "latest"
    if not at and ":" in name:
        name, _, tag = name.partition(":")
    if not is_name(name):
        raise ValueError(f"{name!r} is not a repository name: use lower-case letters, digits, and . _ - / between them")
    if at and not is_digest(digest):
        raise ValueError(f"{digest!r} is not a digest: use sha256: and 64 lower-case hexadecimal digits")
    if not is_tag(tag):
        raise ValueError(f"{tag!r} is not a tag: use 1 to 128 letters, digits, and . _ -")
    return Image(name, digest if at else tag)


def is_name(text: str) -> bool:
    """Return whether `text` is a repository name by the distribution-spec's grammar and length."""
    return len(text) <= NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Return whether `text` is a tag by the distribution-spec's grammar."""
    return _TAG.fullmatch(text) is not None


def is_query(text: str) -> bool:
    """Return whether `text` is a query (RFC 3986 §3.4) of at most QUERY_PARAMETERS, without encoded control characters.

    Libraries on the way to a backend take some 10 µs for each parameter.
    """
    return (
        text.count("&") < QUERY_PARAMETERS
        and _QUERY.fullmatch(text) is not None
        and _ENCODED_CONTROL.search(text) is None
    )


def is_digest(text: str) -> bool:
    """Return whether `text` is a digest of a registered algorithm, with that algorithm's length."""
    match = _DIGEST.fullmatch(text)
    return match is not None and ENCODED_LENGTHS.get(match[1]) == len(match[2])


def _resource(path: str, query: str, is_browser: bool) -> Request | Refusal:
    if path in ("/v2/", "/v2"):
        return Ping(query)
    if not path.startswith("/v2/"):
        return _outside_of_registry(path, is_browser)
    if path == "/v2/_catalog":
        return Refusal(404, Code.UNSUPPORTED, "this registry does not list its repositories")
    return _in_repository(path.removeprefix("/v2/"), query)


def _outside_of_registry(path: str, is_browser: bool) -> Request | Refusal:
    """Parse a path that is none of a registry's: the page, its files, and the token server."""
    if path == "/":
        return Home(is_browser=is_browser)
    if path == TOKEN_PATH:
        return TokenRequest()
    if path in PAGE_FILES:
        return PageFile(path)
    if is_browser and _is_image(path[1:]):
        return Home(path[1:], is_browser=True)
    return Refusal(404, Code.UNSUPPORTED, "not found: the paths of a registry begin with /v2/")


def _is_image(text: str) -> bool:
    try:
        parse_image(text)
    except ValueError:
        return False
    return True


def _in_repository(rest: str, query: str) -> Request | Refusal:
    """Parse `<name>/manifests/<reference>` and the like from the right.

    A repository name may itself have a component called `manifests`.
    """
    head, _, last = rest.rpartition("/")
    name, _, kind = head.rpartition("/")
    if kind == "tags" and last == "list":
        return _named(Tags(name, query))
    if kind == "manifests":
        read = ManifestRead(name, last, query)
        return _digested(read, last) if ":" in last else _named(read)
    if kind == "referrers":
        return _digested(Referrers(name, last, query), last)
    if rest.rstrip("/").endswith("/blobs/uploads") or "/blobs/uploads/" in rest:
        return Refusal(404, Code.BLOB_UPLOAD_UNKNOWN, "this registry is read-only: push to the registry behind it")
    if kind == "blobs":
        return _digested(Blob(name, last, query), last)
    return Refusal(
        404, Code.UNSUPPORTED, "unknown endpoint: use manifests, blobs, tags/list or referrers of a repository"
    )


def _digested(read: ManifestRead | Blob | Referrers, digest: str) -> Read | Refusal:
    if not is_digest(digest):
        return Refusal(400, Code.DIGEST_INVALID, "invalid digest: use sha256: and 64 lower-case hexadecimal digits")
    return _named(read)


def _named(read: Read) -> Read | Refusal:
    if not is_name(read.name):
        return Refusal(
            400,
            Code.NAME_INVALID,
            f"invalid repository name: use up to {NAME_LENGTH} lower-case letters, digits, and . _ - / between them",
        )
    if isinstance(read, ManifestRead) and ":" not in read.reference and not is_tag(read.reference):
        return Refusal(404, Code.MANIFEST_UNKNOWN, "invalid tag: use 1 to 128 letters, digits, and . _ -")
    return read


def _without_namespace(query: str) -> str:
    """Drop containerd's `ns=`: it names the registry in the client's image reference, which is this facade."""
    return "&".join(part for part in query.split("&") if part != "ns" and not part.startswith("ns="))
