"""Patterns of repository names: `*` is one component or part of one, `**` any number of components, at least one."""

import re
from functools import cached_property

from attrs import define

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
        return self._expression.fullmatch(name) is not None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        parts = re.split(r"(\*\*?)", self.text)
        meaning = {"*": "[^/]+", "**": ".+"}
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


def listed(patterns: tuple[Pattern, ...], name: str) -> bool:
    """Whether `name` is on the list. An empty list has every name on it."""
    return not patterns or any(pattern.matches(name) for pattern in patterns)
