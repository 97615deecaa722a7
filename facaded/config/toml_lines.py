"""TOML text: checks its size limits before it is parsed, and finds the line of every key.

tomllib gives no positions, and takes minutes for a key with 100,000 dots. So the text is split into tokens here, in
time linear in its length. The grammar is TOML 1.0.
"""

import re
import tomllib
from collections.abc import Iterator

from attrs import frozen

from facaded.config.settings_error import KeyPath

KEY_PARTS = 16
"""Parts of a dotted key; the longest one in the settings has three."""

NESTING = 50
"""Levels of lists and tables inside each other; tomllib and `key_lines` recurse for each."""

_TOKEN = re.compile(
    r"""
    (?P<newline>\n)
    | (?P<space>[ \t\r]+)
    | (?P<comment>\#[^\n]*)
    | (?P<string>
        \"\"\" (?:\\.|[^\\])*? (?:\"\"\"\"{0,2}|\Z)   # one that does not end takes the rest of the text
        | ''' .*? (?:''''{0,2}|\Z)
        | " (?:\\[^\n]|[^"\\\n])* "?
        | ' [^'\n]* '?
    )
    | (?P<bare>[A-Za-z0-9_+:-]+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class TooDeepError(ValueError):
    """The text is nested deeper than any settings, at `line`."""

    def __init__(self, sentence: str, line: int) -> None:
        super().__init__(sentence)
        self.line = line


@frozen
class _Token:
    kind: str
    text: str
    line: int


def check_bounds(text: str) -> None:
    """Check that TOML text, which may be invalid, can be parsed in a short time. Raises TooDeepError."""
    nesting = dots = 0
    for token in _tokens(text):
        if token.kind == "mark" and token.text == ".":
            dots += 1
            if dots >= KEY_PARTS:
                raise TooDeepError(f"a key with more than {KEY_PARTS} parts: no setting has so many", token.line)
        elif token.kind in ("mark", "newline"):
            dots = 0
            nesting += (token.text in ("[", "{")) - (token.text in ("]", "}") and nesting > 0)
            if nesting > NESTING:
                raise TooDeepError(f"more than {NESTING} lists or tables inside each other", token.line)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every table, key and list entry in valid TOML text."""
    return _Lines(text).read()


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind not in ("space", "comment"):
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
    yield _Token("end", "", line)


class _Lines:
    """Follows the statements of valid TOML text, and notes the line at which each key path begins."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._token = next(self._tokens)
        self._entries: dict[KeyPath, int] = {}  # how many [[tables]] there are so far under a path
        self._lines: dict[KeyPath, int] = {}

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._token.kind != "end":
            if self._token.kind == "newline":
                self._next()
            elif self._token.text == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _next(self) -> _Token:
        token, self._token = self._token, next(self._tokens, self._token)
        return token

    def _skip(self, *texts: str) -> None:
        while self._token.text in texts:
            self._next()

    def _header(self) -> KeyPath:
        line = self._next().line
        is_entry = self._token.text == "["
        self._skip("[")
        *parents, last = self._key()
        self._skip("]")
        path = (*self._resolved(parents), last)
        if is_entry:
            self._entries[path] = self._entries.get(path, 0) + 1
        if path in self._entries:
            path = (*path, self._entries[path] - 1)
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)
        return path

    def _resolved(self, parts: list[str]) -> KeyPath:
        """Lead a path of names through the latest entry of each [[table]] on its way."""
        path: KeyPath = ()
        for part in parts:
            path = (*path, part)
            if path in self._entries:
                path = (*path, self._entries[path] - 1)
        return path

    def _assignment(self, table: KeyPath) -> None:
        line = self._token.line
        path = table
        for part in self._key():
            path = (*path, part)
            self._lines.setdefault(path, line)
        self._skip("=")
        self._value(path)

    def _key(self) -> list[str]:
        """Read a key, dotted or not, up to what follows it."""
        parts = []
        while self._token.kind in ("bare", "string"):
            token = self._next()
            parts.append(token.text if token.kind == "bare" else str(tomllib.loads(f"x = {token.text}")["x"]))
            self._skip(".")
        return parts

    def _value(self, path: KeyPath) -> None:
        if self._token.text == "[":
            self._list(path)
        elif self._token.text == "{":
            self._inline_table(path)
        else:
            while self._token.kind not in ("newline", "end") and self._token.text not in (",", "]", "}"):
                self._next()

    def _list(self, path: KeyPath) -> None:
        self._next()
        index = 0
        self._skip("\n", ",")
        while self._token.text != "]":
            self._lines[(*path, index)] = self._token.line
            self._value((*path, index))
            index += 1
            self._skip("\n", ",")
        self._next()

    def _inline_table(self, path: KeyPath) -> None:
        self._next()
        self._skip("\n", ",")
        while self._token.text != "}":
            self._assignment(path)
            self._skip("\n", ",")
        self._next()
