"""Files of pages: style and script, which browsers keep, and ask whether they have changed."""

import hashlib
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

from attrs import frozen

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The media types of files, by their suffix."""


@frozen(slots=False)  # for cached properties
class StaticFile:
    """A file with its media type."""

    content: bytes
    media_type: str

    @cached_property
    def tag(self) -> str:
        """The entity tag (RFC 9110 §8.8.3): another content has another one."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields of an answer with it: it may be kept, if the browser asks each time whether it is new."""
        return {"Content-Type": self.media_type, "Cache-Control": "no-cache", "ETag": self.tag}

    def is_known_by(self, if_none_match: str) -> bool:
        """Return whether the client has this content, by the value of its If-None-Match; that is empty without one."""
        conditions = [condition.strip().removeprefix("W/") for condition in if_none_match.split(",")]
        return self.tag in conditions or conditions == ["*"]


@cache  # there are a few, by fixed names
def read_static_file(path: Path) -> StaticFile:
    """Read a file of the program."""
    return StaticFile(path.read_bytes(), MEDIA_TYPES[path.suffix])
