"""Image indexes: which manifests an index names, and for which platforms. Also lists of referrers, which are indexes.

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
"""The types of what a tag may name, as a client says that it can read them all."""

PART_LENGTH = 32
"""Characters of an operating system, an architecture or a variant that are read; the longest in use has 8."""

_STRANGE = re.compile(r"[^A-Za-z0-9._+-]")


@frozen
class Entry:
    """One manifest of an index. Without a platform it is an attestation about the others, or nobody knows what."""

    digest: str
    platform: str | None


def read(body: bytes) -> tuple[Entry, ...] | None:
    """The entries of an index that have a digest, in its order; None if the body is no index. Never raises."""
    described = (read_object(body) or {}).get("manifests")
    if not isinstance(described, list):
        return None
    return tuple(
        Entry(each["digest"], _platform(each.get("platform")))
        for each in described
        if isinstance(each, dict) and isinstance(each.get("digest"), str) and is_digest(each["digest"])
    )


def _platform(said: object) -> str | None:
    """`linux/arm/v7` and the like, of harmless characters alone.

    BuildKit's attestations say that their platform is unknown/unknown.
    """
    given = said if isinstance(said, dict) else {}
    parts = [given.get(key) for key in ("os", "architecture", "variant")]
    known = [_STRANGE.sub("?", part[:PART_LENGTH]) for part in parts if isinstance(part, str) and part]
    return "/".join(known) if known and known != ["unknown", "unknown"] else None
