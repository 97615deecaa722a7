"""Text from strangers, made fit for logs and pages."""

TEXT_LENGTH = 200
"""Characters kept of a backend's or a library's text for logs and status."""


def printable(text: str) -> str:
    """Return `text` on one line, `TEXT_LENGTH` characters at most, with `?` for each control character."""
    return "".join(character if character.isprintable() else "?" for character in text[:TEXT_LENGTH])


def whole_number(text: str) -> int | None:
    """Return a header's whole number; None if it is not one, or has more digits than any that makes sense here."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None
