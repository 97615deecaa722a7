"""Answered requests as values, for the access log and for the tracking of pulls."""

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TypeAlias

from attrs import field

from facaded.oci.clients import Client
from facaded.oci.frozen_values import frozen


class Kind(Enum):
    """What a request asks for."""

    PAGE = "page"
    PING = "ping"
    TOKEN = "token"  # noqa: S105  # nosec B105  # a name
    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    OTHER = "other"

    __hash__ = object.__hash__  # every request is counted by it, and the hash of Enum is in Python


class Outcome(Enum):
    """How a request was answered."""

    REDIRECTED = "redirected"
    SERVED = "served"
    FORWARDED = "forwarded"
    ANSWERED_HERE = "answered here"
    REFUSED = "refused"
    ERROR = "error"

    __hash__ = object.__hash__  # as that of Kind

    def __init__(self, value: str) -> None:
        self.word = value.replace(" ", "_")  # as the label of the metrics


@frozen
class Decision:
    """What was decided about a request, and which backend the answer comes from, or None.

    `reference` is a tag or a digest. `repository` and `reference` are empty if the request has none. `asked_again` is
    whether it was served because its client had been redirected and asked again. `reason` is what the client was told
    about an error.
    """

    kind: Kind = Kind.OTHER
    outcome: Outcome = Outcome.ANSWERED_HERE
    backend: str | None = None
    repository: str = ""
    reference: str = ""
    asked_again: bool = False
    reason: str = ""


UNDECIDED = Decision()

TARGET_LENGTH = 400
"""Characters of a request-target that subscribers see: the longest valid path is shorter."""

AGENT_LENGTH = 200
"""Characters of a User-Agent that the log shows."""

HOST_LENGTH = 100
"""Characters of a Host header that the log shows."""

METHOD_LENGTH = 20
"""Characters of a request's method that the log shows."""

_NOT_QUOTABLE = re.compile(r"[^ !#-\[\]-~]")
_NOT_IN_PATHS = re.compile(r"[^!#-\[\]-~]")
_ESCAPES = {'"': "%22", "\\": "%5C"}
_USER = re.compile(r"^(\w*:?//)[^/]*@")
_FIRST_BYTE = re.compile(r"bytes=(\d{1,18})-.*", re.IGNORECASE)


@frozen
class LoggedRequest:
    """What only the log shows of a request: its Host and User-Agent, `quotable`, and its protocol."""

    host: str = ""
    user_agent: str = ""
    protocol: str = "HTTP/1.1"


@frozen
class AnsweredRequest:
    """A request whose answer has been written.

    `address` is the client's, or "-" on a Unix socket; `path` is the request-target without its query; `bytes` is the
    size of the answer's body; `seconds` is the time from the last byte of the request to the last byte of the answer,
    and `at` is when that was written, in seconds since the epoch. `request_id` is the value of X-Request-Id in the
    answer. All text that a client sent is `quotable`, and its length is bounded.
    """

    address: str
    method: str
    path: str
    client: Client
    decision: Decision
    status: int
    bytes: int
    seconds: float
    at: float
    request_id: str = ""
    logged: LoggedRequest = field(factory=LoggedRequest)


Subscriber: TypeAlias = Callable[[AnsweredRequest], None]
"""Is called with every answered request. An exception is logged and has no other effect."""

BatchSubscriber: TypeAlias = Callable[[Sequence[AnsweredRequest]], None]
"""Is called with every answered request, with many at once. An exception is logged and has no other effect."""


def parse_first_byte(ranges: str) -> int | None:
    """Return the first byte that a Range header asks for (RFC 9110 §14.2): 0 if it is empty, None if it is unknown."""
    match = _FIRST_BYTE.fullmatch(ranges)
    return int(match[1]) if match else (None if ranges else 0)


def printable_path(target: bytes) -> str:
    """Return a request-target as `quotable` text without spaces, and without its query, which may carry tokens."""
    path = target.partition(b"?")[0][:TARGET_LENGTH].decode("latin-1")
    if "#" in path or not path.startswith("/v2/"):  # what no client of a registry sends may have a secret in it
        path = _USER.sub(r"\1", path.partition("#")[0])
    if path.isascii() and path.isprintable() and " " not in path and '"' not in path and "\\" not in path:
        return path
    return _NOT_IN_PATHS.sub(lambda match: _ESCAPES.get(match[0], "?"), path)


def quotable(text: str, length: int) -> str:
    """Return text that can stand between double quotes, in the log and in JSON: nobody can make up fields with it.

    It is printable ASCII without double quotes and backslashes, for which there is a `?`, of this length at most.
    """
    return _NOT_QUOTABLE.sub("?", text[:length])
