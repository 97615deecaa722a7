"""Lists of referrers: the manifests that name another one as their subject, such as signatures and SBOMs.

Source: OCI distribution-spec v1.1, "Listing Referrers" and "Referrers Tag Schema".
"""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import unquote

from attrs import frozen

from facaded.oci.indexes import INDEX
from facaded.oci.requests import is_digest

MOST_REFERRERS = 1000
"""Referrers in a list: the most that facaded reads of one backend, and the most that it answers."""

UNITED_SIZE = 4 << 20
"""Largest list of referrers in bytes that facaded answers: it is a manifest, and clients read no more of one."""

LARGEST_SIZE = (1 << 63) - 1
"""Largest size of a descriptor in bytes: clients in Go fail on the whole list if one is larger."""

MEDIA_TYPE_LENGTH = 255
"""Longest media type of a descriptor in characters: more than RFC 6838 §4.2 allows."""

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")
_REFERRERS_TAG = re.compile(r"sha(?:256|512)-[a-f0-9]{64}(?:\.(?:sig|att|sbom))?")


@frozen
class Referrer:
    """One entry of a list: its digest, its artifact type, empty if it has none, and its descriptor as JSON."""

    digest: str
    artifact_type: str
    descriptor: str

    def typed(self, artifact_type: str) -> "Referrer":
        """Return this entry, which has no artifact type, with one."""
        descriptor = f'{self.descriptor[:-1]},"artifactType":{json.dumps(artifact_type)}}}'
        return Referrer(self.digest, artifact_type, descriptor)


def read_referrers(document: Mapping[str, Any]) -> tuple[Referrer, ...]:
    """Return the first MOST_REFERRERS well-formed descriptors of an index. Never raises.

    Of each, only the keys of a list of referrers are kept: so not `data`, which is content, nor `urls`, which lead to
    other hosts.
    """
    descriptors = document.get("manifests")
    read = map(_read_descriptor, descriptors if isinstance(descriptors, list) else [])
    return tuple(islice(filter(None, read), MOST_REFERRERS))


def unite(lists: Iterable[Iterable[Referrer]]) -> tuple[Referrer, ...]:
    """Return the entries of several lists in their order, one for each digest.

    It is the first one. If that has no artifact type, it gets the next one's, because without one it would be lost to
    clients that filter by it. Nothing else is taken from there: a wrong size would hide the entry.
    """
    united: dict[str, Referrer] = {}
    for referrer in (referrer for entries in lists for referrer in entries):
        known = united.setdefault(referrer.digest, referrer)
        if not known.artifact_type and referrer.artifact_type:
            united[referrer.digest] = known.typed(referrer.artifact_type)
    return tuple(united.values())


def select(referrers: Iterable[Referrer], types: frozenset[str]) -> tuple[Referrer, ...]:
    """Return the referrers with one of these artifact types, or all of them if there are no types.

    What has no artifact type has none in its manifest either: a client that adds an entry to the index of a fallback
    tag must copy the type there, and so must a registry.
    """
    return tuple(referrer for referrer in referrers if not types or referrer.artifact_type in types)


def render_index(referrers: Iterable[Referrer]) -> bytes:
    """Return the list as an image index; at most MOST_REFERRERS, and without what exceeds UNITED_SIZE."""
    texts: list[str] = []
    room = UNITED_SIZE - 200
    for referrer in referrers:
        if len(referrer.descriptor) < room and len(texts) < MOST_REFERRERS:
            room -= len(referrer.descriptor) + 1
            texts.append(referrer.descriptor)
    return f'{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{",".join(texts)}]}}'.encode("ascii")


def artifact_types(query: str) -> frozenset[str]:
    """Return the artifact types that a query asks for. A client may send several; a plus sign stands for itself."""
    pairs = (part.partition("=") for part in query.split("&"))
    return frozenset(unquote(value) for name, _, value in pairs if name == "artifactType" and value)


def referrers_tag(digest: str) -> str:
    """Return the fallback tag of a digest: where clients store the list if the registry has no referrers API."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def is_referrers_tag(reference: str) -> bool:
    """Return whether a reference is a fallback tag, or a tag of cosign's: that tag with .sig, .att or .sbom."""
    return "-" in reference and _REFERRERS_TAG.fullmatch(reference) is not None


def _read_descriptor(value: object) -> Referrer | None:
    fields = value if isinstance(value, dict) else {}
    media_type, digest, size = fields.get("mediaType"), fields.get("digest"), fields.get("size")
    if not (_is_media_type(media_type) and isinstance(digest, str) and is_digest(digest)):
        return None
    if type(size) is not int or not 0 <= size <= LARGEST_SIZE:
        return None
    descriptor: dict[str, object] = {"mediaType": media_type, "digest": digest, "size": size}
    artifact_type = fields.get("artifactType")
    if not isinstance(artifact_type, str) or not _is_media_type(artifact_type):
        artifact_type = ""
    if artifact_type:
        descriptor["artifactType"] = artifact_type
    if annotations := _read_annotations(fields.get("annotations")):
        descriptor["annotations"] = annotations
    return Referrer(digest, artifact_type, json.dumps(descriptor, separators=(",", ":")))


def _read_annotations(value: object) -> dict[str, str]:
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(text, str)}


def _is_media_type(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MEDIA_TYPE_LENGTH and _MEDIA_TYPE.fullmatch(value) is not None
