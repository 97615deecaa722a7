"""Patterns of repository names: `*` is one component or part of one, `**` any number of components, at least one."""

import re
from functools import cached_property

from attrs import define, frozen

from facaded.oci.requests import is_name

_PATTERN = re.compile(r"[a-z0-9._*-]+(?:/[a-z0-9._*-]+)*")

PATTERN_LENGTH = 255
"""Characters in a pattern: no longer than the longest name."""

WILDCARDS = 8
"""Wildcards in one pattern: a bound on the work of a match; nobody needs more."""


@define(frozen=True, slots=False)
class Pattern:
    """One pattern, as written in the settings. Made by `parse`, which checks it."""

    text: str

    def matches(self, name: str) -> bool:
        """Whether the repository `name` is meant."""
        return self.expression.fullmatch(name) is not None

    @property
    def wildcard(self) -> str:
        """The pattern's wildcards, in order: `*`, `**`, or nothing."""
        return " ".join(re.findall(r"\*\*?", self.text))

    def parts(self, name: str) -> tuple[str, ...]:
        """What the wildcards stand for in a name that matches."""
        found = self.expression.fullmatch(name)
        return found.groups() if found else ()

    @cached_property
    def expression(self) -> re.Pattern[str]:
        parts = re.split(r"(\*\*?)", self.text)
        meaning = {"*": "([^/]+)", "**": "(.+)"}
        return re.compile("".join(meaning.get(part, re.escape(part)) for part in parts))


def parse(text: str) -> Pattern:
    """Read a pattern.

    Raises ValueError with a sentence that says what a pattern looks like.
    """
    components = text.split("/")
    if not _PATTERN.fullmatch(text) or len(text) > PATTERN_LENGTH:
        raise ValueError(f'{text!r} is not a pattern of repository names: write "org/*", "org/**" or "org/image"')
    if any("**" in component and component != "**" for component in components):
        raise ValueError(f"{text!r}: ** stands alone between slashes; * may be part of a component")
    if text.count("*") > WILDCARDS:
        raise ValueError(f"{text!r} has more than {WILDCARDS} wildcards")
    return Pattern(text)


@frozen
class Rename:
    """The facade's names that match `ours` are called `theirs` on a backend. Made by `parse_rename`."""

    ours: Pattern
    theirs: Pattern

    def apply(self, name: str) -> str:
        """The backend's name of a name that `ours` matches."""
        text = self.theirs.text
        for part in self.ours.parts(name):
            text = re.sub(r"\*\*?", lambda _, part=part: part, text, count=1)  # type: ignore[misc]
        return text


def parse_rename(ours: str, theirs: str) -> Rename:
    """Read one entry of a rename table: one wildcard, the same on both sides, or none.

    Raises ValueError with a sentence that names the side at fault.
    """
    rename = Rename(parse(ours), parse(theirs))
    if rename.ours.wildcard != rename.theirs.wildcard or " " in rename.ours.wildcard:
        raise ValueError(
            f'{ours!r} = {theirs!r}: write one wildcard, the same on both sides, or none: "org/*" = "other/*"'
        )
    return rename


def renamed(renames: tuple[Rename, ...], name: str) -> str | None:
    """What a backend calls the facade's repository `name`: the first entry that matches says it, else it is the same.

    None if that would be no repository name.
    """
    for rename in renames:
        if rename.ours.matches(name):
            theirs = rename.apply(name)
            return theirs if is_name(theirs) else None
    return name


def matcher(patterns: tuple[Pattern, ...]) -> re.Pattern[str] | None:
    """One expression that fully matches the names on the list; None for an empty list, which has every name on it."""
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{pattern.expression.pattern})" for pattern in patterns))


def listed(patterns: tuple[Pattern, ...], name: str) -> bool:
    """Whether `name` is on the list. An empty list has every name on it."""
    return not patterns or any(pattern.matches(name) for pattern in patterns)
