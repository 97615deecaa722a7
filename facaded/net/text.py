"""Untrusted text, made safe for logs and pages."""

TEXT_LENGTH = 200
"""Longest text in characters that logs and status quote from a backend or a library."""


def printable(text: str, length: int = TEXT_LENGTH) -> str:
    """Return `text` on one line, of `length` characters at most, with `?` for each control character."""
    return "".join(character if character.isprintable() else "?" for character in text[:length])


def legible(text: str) -> str:
    """Return lines of text with `?` for each control character but the ends of lines."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def whole_number(text: str) -> int | None:
    """Return the non-negative integer that a header's value is; None if it is anything else or has over 15 digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
