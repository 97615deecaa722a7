"""From a method and a raw request-target to what a client asks for, or to a refusal.

This is the only way from a client's bytes to their meaning. What is not recognised here is refused, never guessed
at, and so never redirected: every value below is rebuilt from parts that matched the grammar of the OCI
distribution-spec v1.1.
"""

import re
from typing import TypeAlias

from attrs import field, frozen

from facaded.oci.errors import Code, Refusal

NAME_LENGTH = 255
"""Characters in a repository name: Docker's own limit, and the one the distribution-spec tells clients to expect."""

TARGET_LENGTH = 8192
"""Bytes in a request-target:

RFC 9112 §3 asks for 8000 at least; the longest lawful path is under 500, the rest is query.
"""

ENCODED_LENGTHS = {"sha256": 64, "sha512": 128}
"""Hexadecimal digits of each digest algorithm that the image-spec registers for everyday use."""

READS = ("GET", "HEAD")

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"([a-z0-9]+):([a-f0-9]+)")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_NAMESPACE = re.compile(r"ns(?:=|$)")


@frozen
class Home:
    """`GET /`: a person with a browser."""


@frozen
class Ping:
    """`GET /v2/`: is a registry there, and how does one authenticate?"""

    query: str = ""

    @property
    def path(self) -> str:
        return "/v2/"


@frozen
class ManifestRead:
    """A manifest of `name` by `reference`, which is a tag or a digest."""

    name: str
    reference: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/manifests/{self.reference}"


@frozen
class Blob:
    """A blob of `name` by its digest."""

    name: str
    digest: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/blobs/{self.digest}"


@frozen
class Tags:
    """The list of the tags of `name`."""

    name: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/tags/list"


@frozen
class Referrers:
    """The manifests of `name` whose subject is `digest`."""

    name: str
    digest: str
    query: str = ""

    @property
    def path(self) -> str:
        return f"/v2/{self.name}/referrers/{self.digest}"


Read: TypeAlias = ManifestRead | Blob | Tags | Referrers
"""What is read from one repository."""

Request: TypeAlias = Home | Ping | Read


@frozen
class Image:
    """An image reference without a registry: `org/img`, `org/img:tag` or `org/img@sha256:…`."""

    name: str = field()
    reference: str = "latest"

    def __str__(self) -> str:
        return f"{self.name}{'@' if ':' in self.reference else ':'}{self.reference}"


def parse(method: bytes, target: bytes, host: bytes = b"") -> Request | Refusal:
    """Say what a request asks for.

    `method` and `target` are the request line's own bytes, undecoded. `host` is the value of the Host header: a
    target in absolute form (RFC 9112 §3.2.2) is read only if it names the same authority. Never raises.
    """
    if method.decode("latin-1") not in READS:
        return Refusal(
            405, Code.UNSUPPORTED, "this registry facade is read-only: push to the registry behind it", allow=READS
        )
    if len(target) > TARGET_LENGTH:
        return Refusal(414, Code.UNSUPPORTED, f"the request-target is longer than {TARGET_LENGTH} bytes")
    text = target.decode("latin-1")
    if absolute := _ABSOLUTE.fullmatch(text):
        authority, text = absolute.groups()
        if authority.lower() != host.decode("latin-1").strip().lower():
            return Refusal(421, Code.DENIED, "the request-target names another host than the Host header")
    path, _, query = text.partition("?")
    if not is_query(query):
        return Refusal(400, Code.UNSUPPORTED, "the query has characters that a query must not have")
    return _resource(path, _without_namespace(query))


def parse_image(text: str) -> Image:
    """Read an image reference of the facade's own (no registry in front, no `library/` implied).

    Raises ValueError with a sentence that names the part at fault.
    """
    name, at, digest = text.partition("@")
    tag = "latest"
    if not at and ":" in name:
        name, _, tag = name.partition(":")
    if not is_name(name):
        raise ValueError(f"{name!r} is not a repository name: lower-case letters, digits, and . _ - / between them")
    if at and not is_digest(digest):
        raise ValueError(f"{digest!r} is not a digest: sha256: and 64 hexadecimal digits")
    if not is_tag(tag):
        raise ValueError(f"{tag!r} is not a tag: 1 to 128 letters, digits, and . _ -")
    return Image(name, digest if at else tag)


def is_name(text: str) -> bool:
    """Whether `text` is a repository name by the distribution-spec's grammar and length."""
    return len(text) <= NAME_LENGTH and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether `text` is a tag by the distribution-spec's grammar."""
    return _TAG.fullmatch(text) is not None


def is_query(text: str) -> bool:
    """Whether `text` is a query by RFC 3986 §3.4, without control characters in disguise."""
    return _QUERY.fullmatch(text) is not None and _ENCODED_CONTROL.search(text) is None


def is_digest(text: str) -> bool:
    """Whether `text` is a digest of a registered algorithm, of that algorithm's length."""
    found = _DIGEST.fullmatch(text)
    return found is not None and ENCODED_LENGTHS.get(found[1]) == len(found[2])


def _resource(path: str, query: str) -> Request | Refusal:
    if path == "/":
        return Home()
    if path in ("/v2", "/v2/"):
        return Ping(query)
    if not path.startswith("/v2/"):
        return Refusal(404, Code.UNSUPPORTED, "nothing is here: the registry's paths begin with /v2/")
    if path == "/v2/_catalog":
        return Refusal(404, Code.UNSUPPORTED, "this registry does not list its repositories")
    return _in_repository(path.removeprefix("/v2/"), query)


def _in_repository(rest: str, query: str) -> Request | Refusal:
    """Read `<name>/manifests/<reference>` and its kin from the right.

    A name may itself have a component called `manifests`.
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
        return Refusal(404, Code.BLOB_UPLOAD_UNKNOWN, "this registry facade is read-only and has no uploads")
    if kind == "blobs":
        return _digested(Blob(name, last, query), last)
    return Refusal(404, Code.UNSUPPORTED, "no such endpoint: manifests, blobs, tags/list and referrers of a repository")


def _digested(read: ManifestRead | Blob | Referrers, digest: str) -> Read | Refusal:
    if not is_digest(digest):
        return Refusal(400, Code.DIGEST_INVALID, "not a digest: it is sha256: and 64 lower-case hexadecimal digits")
    return _named(read)


def _named(read: Read) -> Read | Refusal:
    if not is_name(read.name):
        return Refusal(
            400,
            Code.NAME_INVALID,
            f"not a repository name: lower-case letters, digits, and . _ - / between them, {NAME_LENGTH} at most",
        )
    if isinstance(read, ManifestRead) and ":" not in read.reference and not is_tag(read.reference):
        return Refusal(404, Code.MANIFEST_UNKNOWN, "not a tag: 1 to 128 letters, digits, and . _ -")
    return read


def _without_namespace(query: str) -> str:
    """Drop containerd's `ns=`: it names the registry that the client believes it talks to, which is this facade."""
    return "&".join(part for part in query.split("&") if not _NAMESPACE.match(part))
