"""Settings errors: each has a place (file and line, or variable), a key path, and a sentence with the remedy."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from facaded.net.text import printable

if TYPE_CHECKING:
    from facaded.config.sections import Config

KeyPath: TypeAlias = tuple[str | int, ...]
"""The path to a value: names of keys, and indexes in lists. Empty: the whole file."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@frozen
class Problem:
    """One mistake at a key path.

    `about` are the other keys that it follows from: if one of these has a problem of its own, this one is not reported,
    because it may only be a consequence.
    """

    path: KeyPath
    sentence: str
    about: tuple[KeyPath, ...] = ()

    def __str__(self) -> str:
        return f"{written(self.path)}: {self.sentence}" if self.path else self.sentence


class SettingsError(Exception):
    """Settings that cannot be used.

    `problems` are lines for a person, each with the place (a file and line, or a variable), the key path and the
    remedy. `partial` is the part of the settings that is right, if the file could be read: enough to find a daemon that
    runs with an older version of them.
    """

    def __init__(self, problems: Sequence[str], partial: "Config | None" = None) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
        self.partial = partial

    @classmethod
    def at(
        cls, problems: Sequence[Problem], place: Callable[[KeyPath], str], partial: "Config | None" = None
    ) -> "SettingsError":
        """Return an error with the place of each problem before it."""
        return cls([f"{place(problem.path)}: {problem}" for problem in problems], partial)


def written(path: KeyPath) -> str:
    """Write a key path as in `backend[1].url`, without control characters."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in path)
    return printable("".join(parts).removeprefix("."))


def overlap(one: KeyPath, other: KeyPath) -> bool:
    """Whether one path is the beginning of the other."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def nearest(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """Return the line of a key, or of the innermost table or list around it that has a line."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def _key(part: str) -> str:
    return part if _BARE_KEY.fullmatch(part) else f'"{part}"'
