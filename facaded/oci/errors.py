"""The error document of the distribution-spec, and refusals as values.

Source: OCI distribution-spec v1.1, "Error Codes".
"""

import json
from enum import Enum

from attrs import frozen


class Code(Enum):
    """The error codes of the distribution-spec's table that a registry facade has a use for."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DENIED = "DENIED"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    UNAUTHORIZED = "UNAUTHORIZED"
    UNSUPPORTED = "UNSUPPORTED"


@frozen
class Refusal:
    """An answer that says no.

    `status` is HTTP's, `code` the distribution-spec's, `message` one sentence that tells a person what to do.
    `allow` names the methods of an `Allow` header; it is empty unless the status is 405.
    """

    status: int
    code: Code
    message: str
    allow: tuple[str, ...] = ()


def document(code: Code, message: str) -> bytes:
    """The JSON body of an error answer: one error, ASCII only, ending in a newline."""
    return json.dumps({"errors": [{"code": code.value, "message": message}]}).encode("ascii") + b"\n"
