"""The cache of manifests: memory, bounded in bytes, and keyed so that nobody is given what was asked by another
kind of asker.

A manifest is kept by (facade's repository, digest): one repository's manifests are not given to another's askers. A
tag's digest is kept by (backend, backend's repository, tag, the types accepted): what a tag means depends on the
types, for registries pick a platform for who accepts no index.
"""

import hashlib
from collections.abc import Callable, Iterator

from attrs import frozen

from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import read_object
from facaded.oci.indexes import MANIFEST_TYPES
from facaded.oci.requests import is_digest

MANIFEST_SIZE = 4 << 20
"""Bytes of a manifest: the distribution-spec asks registries to take at least this, and clients read no more."""

MANIFEST_LIFE = 3600.0
"""Seconds that a manifest is kept: it cannot change, but it can be taken down."""

TAGS = 10_000
"""Tags whose digest is kept."""

LARGEST_BLOB = 10**15
"""Bytes that no blob has: a size that a manifest says is believed below it."""

OVERHEAD = 500
"""Bytes that a kept manifest costs beside its body."""


@frozen
class Manifest:
    """A manifest as a client is told of it.

    `body` is None where only its head is known.
    """

    media_type: str
    digest: str
    length: int
    body: bytes | None


@frozen
class Accept:
    """The Accept header of a request: its value, the header's lines joined, and the media types in it."""

    value: str
    types: frozenset[str]

    @property
    def key(self) -> bytes:
        """The types in a few bytes, for what is remembered: a client may send very many."""
        return hashlib.sha256("\n".join(sorted(self.types)).encode()).digest()

    @classmethod
    def read(cls, lines: tuple[str, ...]) -> "Accept":
        value = ", ".join(lines)
        return cls(value, frozenset(part.partition(";")[0].strip().lower() for part in value.split(",")) - {""})


EVERY_TYPE = Accept.read(MANIFEST_TYPES)
"""How the facade itself asks for a manifest, whatever it is."""


class ManifestCache:
    """Keeps manifests. `size` is in bytes, 0 keeps none; `tag_ttl` in seconds; `seconds` gives monotonic time."""

    def __init__(self, size: int, tag_ttl: float, seconds: Callable[[], float]) -> None:
        self._tag_ttl = tag_ttl
        self._seconds = seconds
        self._manifests: ExpiringMap[tuple[str, str], Manifest] = ExpiringMap(size, _cost)
        self._tags: ExpiringMap[tuple[str, str, str, bytes], str] = ExpiringMap(TAGS if size else 0)

    def manifest(self, repository: str, digest: str, accept: Accept) -> Manifest | None:
        """A manifest of the facade's `repository`, if it is kept and of a type that is accepted by name."""
        kept = self._manifests.get((repository, digest), self._seconds())
        return kept if kept is not None and kept.media_type in accept.types else None

    def keep(self, repository: str, manifest: Manifest) -> None:
        """Keep a manifest that was checked against its digest, and make room for it."""
        if manifest.body is not None:
            self._manifests.put((repository, manifest.digest), manifest, self._seconds() + MANIFEST_LIFE)

    def tag(self, backend: str, name: str, tag: str, accept: Accept) -> str | None:
        """The digest of a tag at a backend, if it was asked with these types within `tag_ttl`."""
        return self._tags.get((backend, name, tag, accept.key), self._seconds())

    def keep_tag(self, backend: str, name: str, tag: str, accept: Accept, digest: str) -> None:
        """Keep the digest of a tag."""
        self._tags.put((backend, name, tag, accept.key), digest, self._seconds() + self._tag_ttl)

    def blob_size(self, repository: str, digest: str) -> int | None:
        """The size of a blob, from the descriptor in a manifest of the same repository."""
        for (owner, _), manifest in self._manifests.items(self._seconds()):
            if owner == repository and manifest.body is not None and digest.encode() in manifest.body:
                size = _described_size(manifest.body, digest)
                if size is not None:
                    return size
        return None


def _cost(manifest: Manifest) -> int:
    return manifest.length + OVERHEAD


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """The digest of a body, as the image-spec writes it. `algorithm` is one that `oci.requests` lets through."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def smallest_blob(body: bytes) -> str | None:
    """The digest of the smallest blob with any bytes that a manifest names, its config included."""
    manifest = read_object(body) or {}
    described = [*_descriptors([manifest.get("config")]), *_descriptors(manifest.get("layers"))]
    return min(((size, digest) for digest, size in described if size), default=(0, None))[1]


def _described_size(body: bytes, digest: str) -> int | None:
    manifest = read_object(body) or {}
    described = [*_descriptors([manifest.get("config")]), *_descriptors(manifest.get("layers"))]
    return next((size for each, size in described if each == digest), None)


def _descriptors(listed: object) -> Iterator[tuple[str, int]]:
    """Digest and size of each descriptor in a list; what is none is passed over."""
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict) or not isinstance(each.get("digest"), str) or not is_digest(each["digest"]):
            continue
        size = each.get("size")
        if type(size) is int and 0 <= size < LARGEST_BLOB:
            yield each["digest"], size
