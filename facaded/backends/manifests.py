"""The cache of manifests: memory, bounded in bytes, and keyed so that nobody is given what was asked by another
kind of asker.

A manifest is kept by (facade's repository, digest): one repository's manifests are not given to another's askers. A
tag's digest is kept by (backend, backend's repository, tag, the types accepted): what a tag means depends on the
types, for registries pick a platform for who accepts no index.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

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


class Cache:
    """Keeps manifests. `size` is in bytes, 0 keeps none; `tag_ttl` in seconds; `seconds` gives monotonic time."""

    def __init__(self, size: int, tag_ttl: float, seconds: Callable[[], float]) -> None:
        self._size = size
        self._tag_ttl = tag_ttl
        self._seconds = seconds
        self._held = 0
        self._manifests: OrderedDict[tuple[str, str], tuple[Manifest, float]] = OrderedDict()
        self._tags: OrderedDict[tuple[str, str, str, bytes], tuple[str, float]] = OrderedDict()

    def manifest(self, repository: str, digest: str, accept: Accept) -> Manifest | None:
        """A manifest of the facade's `repository`, if it is kept and of a type that is accepted by name."""
        kept = self._manifests.get((repository, digest))
        if kept is None or kept[0].media_type not in accept.types:
            return None
        if kept[1] <= self._seconds():
            self._forget((repository, digest))
            return None
        self._manifests.move_to_end((repository, digest))
        return kept[0]

    def keep(self, repository: str, manifest: Manifest) -> None:
        """Keep a manifest that was checked against its digest, and make room for it."""
        cost = manifest.length + OVERHEAD
        if manifest.body is None or cost > self._size:
            return
        self._forget((repository, manifest.digest))
        self._manifests[repository, manifest.digest] = manifest, self._seconds() + MANIFEST_LIFE
        self._held += cost
        while self._held > self._size:
            self._forget(next(iter(self._manifests)))

    def tag(self, backend: str, name: str, tag: str, accept: Accept) -> str | None:
        """The digest of a tag at a backend, if it was asked with these types within `tag_ttl`."""
        digest, until = self._tags.get((backend, name, tag, accept.key), ("", 0.0))
        return digest if until > self._seconds() else None

    def keep_tag(self, backend: str, name: str, tag: str, accept: Accept, digest: str) -> None:
        """Keep the digest of a tag."""
        if not self._size:
            return
        key = backend, name, tag, accept.key
        self._tags[key] = digest, self._seconds() + self._tag_ttl
        self._tags.move_to_end(key)
        if len(self._tags) > TAGS:
            self._tags.popitem(last=False)

    def blob_size(self, repository: str, digest: str) -> int | None:
        """The size of a blob, from the descriptor in a manifest of the same repository."""
        for (owner, _), (manifest, _) in reversed(self._manifests.items()):
            if owner == repository and manifest.body is not None and digest.encode() in manifest.body:
                size = _described_size(manifest.body, digest)
                if size is not None:
                    return size
        return None

    def _forget(self, key: tuple[str, str]) -> None:
        kept = self._manifests.pop(key, None)
        if kept is not None:
            self._held -= kept[0].length + OVERHEAD


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """The digest of a body, as the image-spec writes it. `algorithm` is one that `oci.requests` lets through."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def smallest_blob(body: bytes) -> str | None:
    """The digest of the smallest blob with any bytes that a manifest names, its config included."""
    manifest = _object(body)
    described = [*_descriptors([manifest.get("config")]), *_descriptors(manifest.get("layers"))]
    return min(((size, digest) for digest, size in described if size), default=(0, None))[1]


def _described_size(body: bytes, digest: str) -> int | None:
    manifest = _object(body)
    described = [*_descriptors([manifest.get("config")]), *_descriptors(manifest.get("layers"))]
    return next((size for each, size in described if each == digest), None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _descriptors(listed: object) -> Iterator[tuple[str, int]]:
    """Digest and size of each descriptor in a list; what is none is passed over."""
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict) or not isinstance(each.get("digest"), str) or not is_digest(each["digest"]):
            continue
        size = each.get("size")
        if type(size) is int and 0 <= size < LARGEST_BLOB:
            yield each["digest"], size
