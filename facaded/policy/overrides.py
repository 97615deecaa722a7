"""The operator's word: a backend that is pinned, and backends that are drained. The terms are HAProxy's.

A pin makes a backend the active one of every route that has it, whatever its health; a drain takes one out. Both may
end by themselves. Times are monotonic seconds.
"""

from collections.abc import Collection, Mapping

from attrs import evolve, field, frozen

LONGEST = 366 * 86400.0
"""Seconds for which a pin or a drain may be set: what is to last longer belongs into the settings."""


class ContradictionError(Exception):
    """What the operator says cannot be. The text is a sentence that says why, and what to do."""


@frozen
class Override:
    """Since when a pin or drain is in force, and until when if it ends by itself."""

    since: float
    until: float | None = None

    @classmethod
    def lasting(cls, seconds: float | None, now: float) -> "Override":
        """Return one that is in force from now on, for so many seconds or until it is taken back."""
        return cls(now, None if seconds is None else now + min(seconds, LONGEST))

    def ended(self, now: float) -> bool:
        return self.until is not None and now >= self.until


@frozen
class Overrides:
    """What is in force: `pins` has one backend at most, `drains` any number, by name."""

    pins: Mapping[str, Override] = field(factory=dict)
    drains: Mapping[str, Override] = field(factory=dict)

    @property
    def pinned(self) -> str | None:
        """The backend that is pinned."""
        return next(iter(self.pins), None)

    @property
    def next_end(self) -> float | None:
        """When the first of them ends by itself."""
        return min((each.until for each in (*self.pins.values(), *self.drains.values()) if each.until), default=None)

    def pin(self, backend: str, override: Override, known: Collection[str]) -> "Overrides":
        """Make `backend` the active one, instead of one that was pinned before. Raises ContradictionError."""
        _check(backend, known)
        if backend in self.drains:
            raise ContradictionError(f"{backend} is drained: undrain it first, or pin another backend")
        return evolve(self, pins={backend: override})

    def unpin(self) -> "Overrides":
        """Let health decide again. Nothing to undo is success."""
        return evolve(self, pins={})

    def drain(self, backend: str, override: Override, known: Collection[str]) -> "Overrides":
        """Take `backend` out. Raises ContradictionError."""
        _check(backend, known)
        if backend in self.pins:
            raise ContradictionError(f"{backend} is pinned: unpin it first, or drain another backend")
        return evolve(self, drains={**self.drains, backend: override})

    def undrain(self, backend: str, known: Collection[str]) -> "Overrides":
        """Take `backend` in again. Nothing to undo is success; an unknown backend raises ContradictionError."""
        _check(backend, known)
        return evolve(self, drains={name: each for name, each in self.drains.items() if name != backend})

    def left(self, known: Collection[str], now: float) -> "Overrides":
        """Those that have not ended, of backends that there still are."""

        def still(overrides: Mapping[str, Override]) -> dict[str, Override]:
            return {name: each for name, each in overrides.items() if name in known and not each.ended(now)}

        return Overrides(still(self.pins), still(self.drains))

    def news(self, before: "Overrides") -> list[str]:
        """What is otherwise than `before`, in words."""
        return [
            *(f"{name} pinned" for name, each in self.pins.items() if before.pins.get(name) != each),
            *(f"{name} no longer pinned" for name in before.pins if name not in self.pins),
            *(f"{name} drained" for name, each in self.drains.items() if before.drains.get(name) != each),
            *(f"{name} no longer drained" for name in before.drains if name not in self.drains),
        ]


def _check(backend: str, known: Collection[str]) -> None:
    if backend not in known:
        raise ContradictionError(f"no route has a backend called {backend}: {', '.join(known)}")
