"""Image indexes: the manifests that an index lists, and their platforms. A list of referrers is an index too.

Source: OCI image-spec v1.1, "Image Index"; Docker's manifest list has the same form.
"""

import re

from attrs import frozen

from facaded.net.json_objects import read_object
from facaded.oci.requests import is_digest

INDEX = "application/vnd.oci.image.index.v1+json"
INDEX_TYPES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = (
    *INDEX_TYPES,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
"""The media types that a tag can resolve to, as a client that reads all of them lists them in Accept."""

PART_LENGTH = 32
"""Characters read of an operating system, an architecture or a variant; the longest in use has 8."""

_UNEXPECTED = re.compile(r"[^A-Za-z0-9._+-]")


@frozen
class Entry:
    """One manifest of an index. `platform` is None for attestations, and where the index gives no platform."""

    digest: str
    platform: str | None


def read(body: bytes) -> tuple[Entry, ...] | None:
    """Return the entries of an index that have a valid digest, in order; None if the body is no index. Never raises."""
    descriptors = (read_object(body) or {}).get("manifests")
    if not isinstance(descriptors, list):
        return None
    return tuple(
        Entry(descriptor["digest"], _platform(descriptor.get("platform")))
        for descriptor in descriptors
        if isinstance(descriptor, dict)
        and isinstance(descriptor.get("digest"), str)
        and is_digest(descriptor["digest"])
    )


def _platform(value: object) -> str | None:
    """Return a platform as `linux/arm/v7`, with `?` for each unexpected character.

    BuildKit gives its attestations the platform unknown/unknown.
    """
    fields = value if isinstance(value, dict) else {}
    parts = [fields.get(key) for key in ("os", "architecture", "variant")]
    known = [_UNEXPECTED.sub("?", part[:PART_LENGTH]) for part in parts if isinstance(part, str) and part]
    return "/".join(known) if known and known != ["unknown", "unknown"] else None
