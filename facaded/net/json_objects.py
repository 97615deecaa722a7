"""JSON objects from untrusted sources."""

import json
from typing import Any

MOST_VALUES = 30_000
"""Most values, names and nested structures of a document: to parse as many takes 20 ms, and a manifest has under 1,000.

Nothing else runs in the meantime, in no thread either: 4 MiB of empty lists would take a second.
"""

LONGEST_INTEGER = 500
"""Most characters of an integer: Python takes 0.1 s for 1,000 integers of 4,300, its own limit."""

_STRUCTURE = ",:[{"


def read_object(body: bytes | str, most_values: int = MOST_VALUES) -> dict[str, Any] | None:
    """Return the JSON object in `body`, or None if `body` is anything else or is too complex. Never raises.

    NaN and Infinity are refused: Python's json accepts them, but RFC 8259 does not. The caller limits the size.
    """
    document = _parse(body, most_values)
    return document if isinstance(document, dict) else None


def is_json(body: bytes) -> bool:
    """Return whether `body` is a JSON document of any kind, and not too complex. Never raises."""
    return _parse(body, MOST_VALUES) is not _INVALID


def is_too_complex(body: bytes | str, most_values: int = MOST_VALUES) -> bool:
    """Return whether parsing `body` could take too long. Commas and brackets within strings count too."""
    if len(body) <= most_values:
        return False
    if isinstance(body, str):
        return sum(map(body.count, _STRUCTURE)) > most_values
    return sum(map(body.count, _STRUCTURE.encode("ascii"))) > most_values


_INVALID = object()


def _parse(body: bytes | str, most_values: int) -> object:
    """Return the parsed document, or _INVALID."""
    if is_too_complex(body, most_values):
        return _INVALID
    try:
        return json.loads(body, parse_constant=_refuse, parse_int=_read_integer)
    except (ValueError, RecursionError):
        return _INVALID


def _read_integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} characters")
    return int(text)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
