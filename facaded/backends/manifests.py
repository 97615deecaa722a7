"""Manifests: the Accept header, and a cache of manifests in memory, limited in bytes.

Manifests are keyed by (facade's repository, digest), so that a repository's manifests are only served for that
repository.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from attrs import define, field, frozen

from facaded.backends.media_types import SIGNED_SCHEMA_1, essence
from facaded.backends.referrers_cache import REFERRERS_SIZE, ReferrersCache
from facaded.backends.tags import TAGS, TagCache, TaggedRead
from facaded.net.expiring import ExpiringMap
from facaded.net.json_objects import is_too_complex, read_object
from facaded.oci.indexes import MANIFEST_TYPES
from facaded.oci.referrers import MOST_REFERRERS
from facaded.oci.requests import ManifestRead, is_digest
from facaded.policy.health import Step

MANIFEST_SIZE = 4 << 20
"""Largest manifest in bytes: registries should accept at least this (distribution-spec), and clients read no more."""

MANIFEST_LIFE = 3600.0
"""Seconds that a manifest is cached: it cannot change, but it can be deleted."""

LARGEST_BLOB = 10**15
"""Bytes. A manifest's descriptor with this size or more is taken as invalid."""

ACCEPTED_TYPES = 50
"""Media types of an Accept header that count: clients send up to about ten."""

ACCEPTED_LENGTH = 120
"""Longest media type of an Accept header, in characters: many servers refuse a header over 8 kB."""

MOST_BLOBS = 128
"""Blobs of one manifest whose sizes are kept: Linux's overlay file system, and so Docker, has up to 127 layers."""

BLOB_SIZES = 20_000
"""Blobs whose sizes are kept, with about 500 bytes of memory each."""

OVERHEAD = 500
"""Bytes that a cached manifest costs in addition to its body."""

_NAME = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}")


@frozen
class Manifest:
    """A manifest: its media type, digest, length in bytes, and body. `body` is None after a HEAD.

    `step` is the step of a pull by which a backend was asked for it; None if it is from the cache.
    """

    media_type: str
    digest: str
    length: int
    body: bytes | None
    step: Step | None = field(default=None, eq=False)

    @property
    def is_signed(self) -> bool:
        """Whether it is of Docker's schema 1, whose digest covers a part of it, and may not be known to its registry.

        Distribution 2.8 makes one, for a client whose Accept names no type of a Docker image, from its manifest.
        """
        return essence(self.media_type) == SIGNED_SCHEMA_1


@frozen
class Accept:
    """The Accept header of a request: the media types in it, and the value that is sent to registries.

    That value is rebuilt from the types, because a registry that refuses what a client sent would count as failing.
    """

    value: str
    types: frozenset[str]

    @property
    def key(self) -> bytes:
        """A short cache key for the media types."""
        return hashlib.sha256("\n".join(sorted(self.types)).encode()).digest()

    def of_tag(self, read: ManifestRead) -> TaggedRead:
        """Return the key of a tag that is read with these types."""
        return TaggedRead(read.name, read.reference, self.key)

    @classmethod
    def read(cls, lines: tuple[str, ...]) -> "Accept":
        """Parse the values of all Accept headers of a request.

        Their parameters are left out, as registries do, and so is what is no media type or too long. Only the first
        ACCEPTED_TYPES count.
        """
        parts = ",".join(lines).split(",", 2 * ACCEPTED_TYPES)[: 2 * ACCEPTED_TYPES]
        types = tuple(dict.fromkeys(filter(_is_media_type, map(essence, parts))))[:ACCEPTED_TYPES]
        return cls(", ".join(types), frozenset(types))


def _is_media_type(text: str) -> bool:
    return len(text) <= ACCEPTED_LENGTH and _MEDIA_TYPE.fullmatch(text) is not None


EVERY_TYPE = Accept.read(MANIFEST_TYPES)
"""The Accept header of facaded's own requests: all manifest types."""


@define
class CacheUses:
    """How requests for manifests were answered: from the cache, from it after a HEAD of the tag, or by a backend."""

    hits: int = 0
    confirmed: int = 0
    misses: int = 0

    def note(self, manifest: Manifest | None) -> None:
        """Count a request that was answered with this manifest; None if there is none."""
        if manifest is not None and manifest.step is None:
            self.hits += 1
        elif manifest is not None and manifest.body is not None and manifest.step is Step.MANIFEST:
            self.confirmed += 1
        else:
            self.misses += 1


class ManifestCache:
    """A cache of manifests, of the sizes of their blobs, of tags' digests (`tags`), and of lists (`referrers`).

    `size` is in bytes, without those of the others; 0 disables the cache. `tag_ttl` and `stale_tags` are in seconds,
    see `TagCache`; `seconds` returns monotonic time. `uses` counts how requests are answered, for its users.
    """

    def __init__(
        self,
        size: int,
        tag_ttl: float,
        seconds: Callable[[], float],
        stale_tags: float = 0.0,
        uses: CacheUses | None = None,
    ) -> None:
        self.uses = uses or CacheUses()
        self.tags = TagCache(TAGS if size else 0, tag_ttl, stale_tags, seconds)
        self.referrers = ReferrersCache(REFERRERS_SIZE if size else 0, tag_ttl, stale_tags, seconds)
        self._seconds = seconds
        self._manifests: ExpiringMap[tuple[str, str], Manifest] = ExpiringMap(size, _cost)
        self._blob_sizes: ExpiringMap[tuple[str, str], int] = ExpiringMap(BLOB_SIZES if size else 0)

    @property
    def used(self) -> int:
        """The bytes of all cached manifests and lists of referrers."""
        return self._manifests.used + self.referrers.used

    def manifest(self, repository: str, digest: str, accept: Accept) -> Manifest | None:
        """Return a cached manifest of the facade's `repository`, or None if its type is not among the accepted ones."""
        manifest = self._manifests.get((repository, digest), self._seconds())
        return manifest if manifest is not None and essence(manifest.media_type) in accept.types else None

    def store(self, repository: str, manifest: Manifest, document: Mapping[str, Any]) -> None:
        """Store a manifest whose body matches its digest, and the sizes of its blobs. `document` is its JSON object."""
        if manifest.body is None:
            return
        until = self._seconds() + MANIFEST_LIFE
        self._manifests.put((repository, manifest.digest), manifest, until)
        for digest, size in islice(_read_blobs(document), MOST_BLOBS):
            self._blob_sizes.put((repository, digest), size, until)

    def blob_size(self, repository: str, digest: str) -> int | None:
        """Return the size of a blob from its descriptor in a manifest of the repository that was stored, or None."""
        return self._blob_sizes.get((repository, digest), self._seconds())


def _cost(manifest: Manifest) -> int:
    return manifest.length + OVERHEAD


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of a body in the image-spec's form. `algorithm` is one that `oci.requests` accepts."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def read_manifest(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a manifest is; None if `body` is none.

    One that is too complex to parse is taken as an object without keys, because clients may understand it.
    """
    if body.startswith(b"{") and is_too_complex(body):
        return {}
    return read_object(body)


def find_smallest_blob(body: bytes) -> str | None:
    """Return the digest of the smallest non-empty blob of a manifest, including its config; None if it has none."""
    blobs = _read_blobs(read_object(body) or {})
    return min(((size, digest) for digest, size in blobs if size), default=(0, None))[1]


def find_digests(body: bytes) -> tuple[str, ...]:
    """Return the digests of what a manifest consists of: its config and layers, or the manifests of an index."""
    manifest = read_object(body) or {}
    entries = (*_read_blobs(manifest), *_read_descriptors(manifest.get("manifests")))
    return tuple(digest for digest, _ in entries)[:MOST_REFERRERS]


def _read_blobs(manifest: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the digest and size of a manifest's config and layers."""
    yield from _read_descriptors([manifest.get("config")])
    yield from _read_descriptors(manifest.get("layers"))


def _read_descriptors(entries: object) -> Iterator[tuple[str, int]]:
    """Yield the digest and size of each valid descriptor in a list."""
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("digest"), str) or not is_digest(entry["digest"]):
            continue
        size = entry.get("size")
        if type(size) is int and 0 <= size < LARGEST_BLOB:
            yield entry["digest"], size
