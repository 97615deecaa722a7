"""What a client asked for, and what was served: values between the fetcher and what talks to clients."""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import frozen

from facaded.backends.manifests import Accept, Manifest
from facaded.backends.registry import NO_RANGE, Listing, RangeHeaders
from facaded.backends.shares import OverLimit
from facaded.net.client import StreamedResponse


@frozen
class ReadOptions:
    """What the client's request says about the response.

    `accept` are the media types; `with_body` is False for HEAD; `range` is the requested part of a blob. `source` is
    the client's address, "-" if it has none.
    """

    accept: Accept
    with_body: bool = True
    range: RangeHeaders = NO_RANGE
    source: str = "-"


@frozen
class BlobRedirect:
    """A blob that the client is redirected to at `location`."""

    location: str


@frozen
class BlobBytes:
    """A blob's bytes, or a part of them, for relaying: the backend's response with an unread body."""

    opened: StreamedResponse


@frozen
class BlobSize:
    """The size of a blob in bytes."""

    size: int


@frozen
class Unauthorized:
    """The backend requires authentication; `challenge` is the WWW-Authenticate value to pass to the client."""

    challenge: str


@frozen
class PingAccepted:
    """The backend answered a ping with 200."""


Content: TypeAlias = Manifest | Listing | BlobRedirect | BlobBytes | BlobSize


@frozen
class Served:
    """Content from `backend`. `failures` maps the backends that failed before it to the reasons."""

    backend: str
    content: Content
    failures: Mapping[str, str]


@frozen
class NotServed:
    """No backend served the content.

    `failures` maps the backends that failed to the reasons; the backends in `not_found` do not have the content.
    `blob_source` is a backend that would only serve the blob itself, without a redirect; `refused` is True if a backend
    refused the request as invalid. `over_limit` is set if only a limit of the client's source is the reason.
    """

    failures: Mapping[str, str]
    not_found: tuple[str, ...]
    blob_source: str | None = None
    refused: bool = False
    over_limit: OverLimit | None = None
