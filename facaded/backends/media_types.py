"""The media types of manifests: what a registry must say that it sends, so that an error page is not taken for one."""

import re
from collections.abc import Mapping
from typing import Any

from facaded.net.client import ResponseHead
from facaded.net.text import printable
from facaded.oci.indexes import MANIFEST_TYPES

MEDIA_TYPE_LENGTH = 255
"""Longest media type in characters: more than RFC 6838 §4.2 allows."""

SIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
"""Docker's old manifests: the only type without +json."""

_JSON = re.compile(r"application/(?:[a-z0-9][a-z0-9!#$&^_.+-]*\+)?json")
_VENDOR_JSON = re.compile(r"application/vnd\.[a-z0-9.+_-]+\+json")


def essence(media_type: str) -> str:
    """Return a media type in the form for comparison: without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def is_manifest_type(media_type: str) -> bool:
    """Return whether a manifest can have this media type: one of Docker's or OCI's, or that of an artifact manifest."""
    plain = essence(media_type)
    return plain in MANIFEST_TYPES or plain == SIGNED_SCHEMA_1 or _VENDOR_JSON.fullmatch(plain) is not None


def sent_type(head: ResponseHead) -> str:
    """Return the media type of a response, with its parameters; empty if it has none."""
    return printable(head.value("Content-Type"))[:MEDIA_TYPE_LENGTH]


def list_type(head: ResponseHead) -> str:
    """Return the media type to serve a list with: the response's if it is JSON, else that of JSON.

    Any other type could make a browser show the list as a page of this registry.
    """
    media_type = essence(sent_type(head))
    return media_type if _JSON.fullmatch(media_type) else "application/json"


def manifest_type(head: ResponseHead, document: Mapping[str, Any] | None) -> str | None:
    """Return the media type of a manifest, or None if the response is no manifest.

    `document` is its body as a JSON object. Its `mediaType` counts if the response has no type, or `application/json`.
    """
    media_type = sent_type(head)
    if essence(media_type) in ("", "application/json") and document is not None:
        own = document.get("mediaType")
        media_type = printable(own)[:MEDIA_TYPE_LENGTH] if isinstance(own, str) else ""
    return media_type if document is not None and is_manifest_type(media_type) else None
