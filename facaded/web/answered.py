"""An answered request as one value, for all who want to know of it: the access log, hints, and what is counted."""

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from attrs import frozen

from facaded.oci.clients import Client


class Kind(Enum):
    """What a request is for."""

    PAGE = "page"
    PING = "ping"
    MANIFEST = "manifest"
    BLOB = "blob"
    TAGS = "tags"
    REFERRERS = "referrers"
    OTHER = "other"


class Outcome(Enum):
    """How a request was answered."""

    REDIRECTED = "redirected"
    SERVED = "served"
    FORWARDED = "forwarded"
    ANSWERED_HERE = "answered here"
    REFUSED = "refused"
    ERROR = "error"


@frozen
class Decision:
    """What was decided about a request: what it is for, of which repository, and which backend its answer is from.

    `reference` is a tag or a digest. All are empty, and `backend` is None, where they do not apply.
    """

    kind: Kind = Kind.OTHER
    outcome: Outcome = Outcome.ANSWERED_HERE
    backend: str | None = None
    repository: str = ""
    reference: str = ""


UNDECIDED = Decision()


@frozen
class Answered:
    """An answered request.

    `address` is the client's, "-" where it has none; `path` is the request-target without its query, in printable
    ASCII; `bytes` are those of the answer's body, `seconds` run from the request's last byte to the answer's.
    """

    address: str
    method: str
    path: str
    client: Client
    decision: Decision
    status: int
    bytes: int
    seconds: float


Subscriber: TypeAlias = Callable[[Answered], None]
"""Called with every answered request; an exception is logged, and ends nothing."""
