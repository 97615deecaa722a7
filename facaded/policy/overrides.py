"""Overrides by the operator: a pinned backend, and drained backends. The terms are HAProxy's.

A pin makes a backend the active one on every route that has it, whatever its health. A drain takes a backend out of
use. Both may expire. Times are monotonic seconds.
"""

from collections.abc import Collection, Mapping

from attrs import evolve, field, frozen

LONGEST = 366 * 86400.0
"""The longest duration of a pin or a drain, in seconds: anything longer belongs in the settings."""

REASON_LENGTH = 200
"""The most characters of a reason: it is part of log lines and of notifications."""


class ContradictionError(Exception):
    """An override that is impossible. The text tells the operator why, and what to do."""


@frozen
class Override:
    """A pin or a drain: when it began, when it expires (None: never), and the operator's reason, which may be empty."""

    since: float
    until: float | None = None
    reason: str = ""

    @classmethod
    def lasting(cls, seconds: float | None, now: float, reason: str = "") -> "Override":
        """Return an override that begins now and expires after `seconds`, or never if that is None."""
        return cls(now, None if seconds is None else now + min(seconds, LONGEST), reason)

    @property
    def remark(self) -> str:
        """The reason in parentheses, after a space; empty without one."""
        return f" ({self.reason})" if self.reason else ""

    def advanced(self, seconds: float, now: float) -> "Override":
        """Return the override that began `seconds` earlier, and expires that much earlier, but not before `now`."""
        until = None if self.until is None else max(self.until - seconds, now)
        return evolve(self, since=self.since - seconds, until=until)

    def has_expired(self, now: float) -> bool:
        return self.until is not None and now >= self.until


@frozen
class Overrides:
    """The overrides in force, by backend: at most one of `pins`, any number of `drains`."""

    pins: Mapping[str, Override] = field(factory=dict)
    drains: Mapping[str, Override] = field(factory=dict)

    @property
    def pinned(self) -> str | None:
        """The pinned backend, or None."""
        return next(iter(self.pins), None)

    @property
    def next_expiry(self) -> float | None:
        """When the next override expires, or None if none does."""
        overrides = (*self.pins.values(), *self.drains.values())
        return min((override.until for override in overrides if override.until), default=None)

    def pin(self, backend: str, override: Override, known: Collection[str]) -> "Overrides":
        """Pin `backend`, instead of the one pinned before. Raises ContradictionError."""
        _check(backend, known)
        if backend in self.drains:
            raise ContradictionError(f"{backend} is drained: undrain it first, or pin another backend")
        return evolve(self, pins={backend: override})

    def unpin(self) -> "Overrides":
        """Remove the pin, if there is one."""
        return evolve(self, pins={})

    def drain(self, backend: str, override: Override, known: Collection[str]) -> "Overrides":
        """Drain `backend`. Raises ContradictionError."""
        _check(backend, known)
        if backend in self.pins:
            raise ContradictionError(f"{backend} is pinned: unpin it first, or drain another backend")
        return evolve(self, drains={**self.drains, backend: override})

    def undrain(self, backend: str, known: Collection[str]) -> "Overrides":
        """Put `backend` back into use, if it is drained. Raises ContradictionError if there is no such backend."""
        _check(backend, known)
        return evolve(self, drains={name: drain for name, drain in self.drains.items() if name != backend})

    def in_force(self, known: Collection[str], now: float) -> "Overrides":
        """Return the overrides that have not expired, of backends that still exist."""

        def select(overrides: Mapping[str, Override]) -> dict[str, Override]:
            return {name: override for name, override in overrides.items() if not override.has_expired(now)}

        existing = self.only(known)
        return Overrides(select(existing.pins), select(existing.drains))

    def only(self, known: Collection[str]) -> "Overrides":
        """Return the overrides of the backends in `known`."""

        def select(overrides: Mapping[str, Override]) -> dict[str, Override]:
            return {name: override for name, override in overrides.items() if name in known}

        return Overrides(select(self.pins), select(self.drains))

    def renamed(self, names: Mapping[str, str]) -> "Overrides":
        """Return the overrides by the backends' new names, which `names` has by the old ones.

        Those of a backend that `names` does not have keep their name, unless another backend has it now.
        """
        taken = set(names.values())

        def rename(overrides: Mapping[str, Override]) -> dict[str, Override]:
            return {
                names.get(name, name): override
                for name, override in overrides.items()
                if name in names or name not in taken
            }

        return Overrides(rename(self.pins), rename(self.drains))

    def advanced(self, seconds: float, now: float) -> "Overrides":
        """Return the overrides after `seconds` that the monotonic clock has not counted."""

        def advance(overrides: Mapping[str, Override]) -> dict[str, Override]:
            return {name: override.advanced(seconds, now) for name, override in overrides.items()}

        return Overrides(advance(self.pins), advance(self.drains))

    def changes_since(self, before: "Overrides") -> list[str]:
        """Return what changed since `before`, one sentence per change."""
        return [
            *(f"{name} is pinned{pin.remark}" for name, pin in self.pins.items() if before.pins.get(name) != pin),
            *(f"{name} is no longer pinned" for name in before.pins if name not in self.pins),
            *(
                f"{name} is drained{drain.remark}"
                for name, drain in self.drains.items()
                if before.drains.get(name) != drain
            ),
            *(f"{name} is no longer drained" for name in before.drains if name not in self.drains),
        ]


def _check(backend: str, known: Collection[str]) -> None:
    if backend not in known:
        raise ContradictionError(f"no route has a backend called {backend!r}: choose from {', '.join(known)}")
