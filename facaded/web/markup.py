"""HTML as values: all text in it is escaped, because only `element` writes tags."""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

from attrs import frozen


@frozen
class Html:
    """A piece of HTML, which nobody but this module makes out of text."""

    code: str


Content: TypeAlias = "Html | str | Iterable[Content]"
"""What an element contains: HTML, text, or several of these. Text is escaped."""

VOID_ELEMENTS = frozenset(["meta", "link", "br"])
"""HTML's elements without content and end that are used here. Those of SVG have an end."""


def element(name: str, /, *contents: Content, **attributes: str | int | float | bool) -> Html:
    """Return an element. An attribute that is True has no value, and one that is False is left out.

    The names of attributes are written with `_` for `-`, and with one at the end if they are reserved in Python.
    """
    written = "".join(
        f" {key.strip('_').replace('_', '-')}" + ("" if value is True else f'="{_escape(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    end = "" if name in VOID_ELEMENTS else f"{join(contents).code}</{name}>"
    return Html(f"<{name}{written}>{end}")


def join(content: Content) -> Html:
    """Return content as one piece of HTML."""
    return Html("".join(_pieces(content)))


def write_page(head: Content, body: Content) -> bytes:
    """Return a whole page."""
    page = element("html", element("head", head), element("body", body), lang="en")
    return f"<!DOCTYPE html>\n{page.code}\n".encode()


def _pieces(content: Content) -> Iterable[str]:
    if isinstance(content, Html):
        yield content.code
    elif isinstance(content, str):
        yield _escape(content)
    else:
        for part in content:
            yield from _pieces(part)


def _escape(text: str) -> str:
    """Escape text, and replace what is not printable: such as characters that reverse the direction of a line."""
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return escape(text)
