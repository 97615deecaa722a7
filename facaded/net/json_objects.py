"""JSON objects from untrusted sources."""

import json
from typing import Any


def read_object(body: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None if `body` is anything else. Never raises.

    NaN and Infinity are refused: Python's json accepts them, but RFC 8259 does not. The caller limits the size.
    """
    try:
        document = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def is_json(body: bytes) -> bool:
    """Return whether `body` is a JSON document of any kind. Never raises."""
    try:
        json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
