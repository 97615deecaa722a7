"""Patterns of repository names: `*` matches a component or part of one, `**` matches one or more components."""

import re
from functools import cached_property

from attrs import define, frozen

from facaded.oci.requests import is_name

_PATTERN = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*")

PATTERN_LENGTH = 255
"""The most characters of a pattern: as many as the longest repository name has."""

WILDCARDS = 8
"""The most wildcards in a pattern: bounds the time that a match takes."""


@define(frozen=True, slots=False)
class Pattern:
    """One pattern, as written in the settings. `parse` validates and creates it."""

    text: str

    def matches(self, name: str) -> bool:
        """Return whether the pattern matches the repository `name`."""
        return self.expression.fullmatch(name) is not None

    @property
    def wildcard(self) -> str:
        """The pattern's wildcards in order, separated by spaces."""
        return " ".join(re.findall(r"\*\*?", self.text))

    def parts(self, name: str) -> tuple[str, ...]:
        """Return the parts of `name` that the wildcards match; empty if the pattern does not match."""
        match = self.expression.fullmatch(name)
        return match.groups() if match else ()

    @property
    def example(self) -> str:
        """A name that the pattern matches."""
        return self.text.replace("**", "x").replace("*", "x")

    def may_overlap(self, other: "Pattern") -> bool:
        """Whether a name can match both patterns. Of two with wildcards only the beginnings and ends are compared."""
        if not self.wildcard or not other.wildcard:
            pattern, name = (self, other.text) if self.wildcard else (other, self.text)
            return pattern.matches(name)
        beginnings = [pattern.text.partition("*")[0] for pattern in (self, other)]
        ends = [pattern.text.rpartition("*")[2][::-1] for pattern in (self, other)]
        return all(one.startswith(another) or another.startswith(one) for one, another in (beginnings, ends))

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern as a regular expression, with one group per wildcard."""
        parts = re.split(r"(\*\*?)", self.text)
        groups = {"*": "([^/]+)", "**": "(.+)"}
        return re.compile("".join(groups.get(part, re.escape(part)) for part in parts))


def parse(text: str) -> Pattern:
    """Parse a pattern. Raises ValueError with a sentence that shows what a pattern looks like."""
    components = text.split("/")
    if not _PATTERN.fullmatch(text) or len(text) > PATTERN_LENGTH:
        raise ValueError(f'{text!r} is not a pattern of repository names: write "org/*", "org/**" or "org/image"')
    if any("**" in component and component != "**" for component in components):
        raise ValueError(f"{text!r}: write ** as a whole component, as in org/**; only * may be part of one")
    if text.count("*") > WILDCARDS:
        raise ValueError(f"{text!r} has too many wildcards: use {WILDCARDS} at most")
    return Pattern(text)


@frozen
class Rename:
    """A rename of the facade's repositories on one backend. `parse_rename` validates and creates it."""

    facade: Pattern
    backend: Pattern

    def apply(self, name: str) -> str:
        """Return the backend's name of a repository that `facade` matches."""
        text = self.backend.text
        for part in self.facade.parts(name):
            text = re.sub(r"\*\*?", lambda _, part=part: part, text, count=1)  # type: ignore[misc]
        return text


def parse_rename(facade: str, backend: str) -> Rename:
    """Parse an entry of a rename table: one wildcard, the same on both sides, or none.

    Raises ValueError with a sentence that quotes the invalid part.
    """
    rename = Rename(parse(facade), parse(backend))
    if rename.facade.wildcard != rename.backend.wildcard or " " in rename.facade.wildcard:
        raise ValueError(
            f'{facade!r} = {backend!r}: write one wildcard, the same on both sides, or none: "org/*" = "other/*"'
        )
    return rename


def renamed(renames: tuple[Rename, ...], name: str) -> str | None:
    """Return a backend's name of the facade's repository `name`: by the first rename that matches, or unchanged.

    Returns None if the result is not a valid repository name.
    """
    for rename in renames:
        if rename.facade.matches(name):
            backend_name = rename.apply(name)
            return backend_name if is_name(backend_name) else None
    return name


def matcher(patterns: tuple[Pattern, ...]) -> re.Pattern[str] | None:
    """Return a regular expression whose full match means that a name is on the list.

    Returns None for an empty list, which has every name.
    """
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern.expression.pattern})" for pattern in patterns))


def listed(patterns: tuple[Pattern, ...], name: str) -> bool:
    """Return whether `name` is on the list. An empty list has every name."""
    return not patterns or any(pattern.matches(name) for pattern in patterns)
