"""The error document of the distribution-spec, and refusals as values.

Source: OCI distribution-spec v1.1, "Error Codes".
"""

import json
from enum import Enum
from functools import lru_cache

from attrs import frozen

DOCUMENTS = 200
"""Error documents whose reason is remembered: most clients that are refused are refused in the same way."""


class Code(Enum):
    """The error codes of the distribution-spec that a registry facade uses, and one more.

    UNAVAILABLE is the code of distribution's registry for 503 (registry/api/errcode/register.go); the spec has none.
    """

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DENIED = "DENIED"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    UNAUTHORIZED = "UNAUTHORIZED"
    UNAVAILABLE = "UNAVAILABLE"
    UNSUPPORTED = "UNSUPPORTED"


@frozen
class Refusal:
    """An error answer to a client.

    `status` is the HTTP status, `code` the distribution-spec's error code. `message` tells a person in one sentence
    what is wrong and what to do. `allow` lists the methods of the `Allow` header; it is empty unless the status is 405.
    """

    status: int
    code: Code
    message: str
    allow: tuple[str, ...] = ()


def document(code: Code, message: str) -> bytes:
    """Return the JSON body of an error answer: one error, ASCII only, with a final newline."""
    return json.dumps({"errors": [{"code": code.value, "message": message}]}).encode("ascii") + b"\n"


@lru_cache(DOCUMENTS)
def reason_of(body: bytes) -> str:
    """Return the code and the message in the body of an error answer, for the log; empty if it has none."""
    try:
        (error,) = json.loads(body)["errors"]
        return f"{error['code']}: {error['message']}"
    except (ValueError, LookupError, TypeError):
        return ""
