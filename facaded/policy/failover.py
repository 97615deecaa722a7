"""Failover: choose the first backend that works, and fail back to an earlier one only after it has been up for a while.

Pure: backend health, settings and the time go in, an `ActiveBackend` comes out. Times are monotonic seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

from facaded.policy.health import Health, Purpose, State
from facaded.policy.overrides import Override, Overrides
from facaded.policy.reasons import cause, condition, describe, spell

Place: TypeAlias = tuple[tuple[str, ...], Purpose]
"""Something that has one active backend: a route, as the names of its backends, and a purpose."""


@frozen
class ActiveBackend:
    """The backend that gets the requests, and the time since when."""

    backend: str
    since: float


@frozen
class Selector:
    """Selects the active backend of one route for one purpose.

    `backends` are those of the route, preferred first, at least one. `failback_after` is how many seconds an earlier
    backend must have been up before it becomes active again; relapses lengthen it. `overrides` are those in force.
    """

    backends: tuple[str, ...]
    failback_after: float
    purpose: Purpose = Purpose.REDIRECT
    overrides: Overrides = field(factory=Overrides)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The backends that are not drained; all of them if every one is drained, because one has to answer."""
        if not self.overrides.drains:
            return self.backends
        undrained = tuple(name for name in self.backends if name not in self.overrides.drains)
        return undrained or self.backends

    def choose(self, healths: Mapping[str, Health], active: ActiveBackend | None, now: float) -> ActiveBackend:
        """Return the backend that is active from now on. `active` is the one until now.

        If all of them are down, it stays active: perhaps only this machine's own network is broken.
        """
        name = self._choose_name(healths, active.backend if active else None, now)
        return active if active and active.backend == name else ActiveBackend(name, now)

    def failback_at(self, healths: Mapping[str, Health], active: ActiveBackend) -> float | None:
        """Return when an earlier backend becomes active again if nothing else happens; None if none does."""
        if self._pinned or active.backend not in self._usable(healths):
            return None
        return min((self._due(healths[name]) for name in self._earlier(healths, active.backend)), default=None)

    def fail_back(self, healths: Mapping[str, Health], active: ActiveBackend, now: float) -> ActiveBackend:
        """Return the first earlier backend that waits for its failback, active from now on; `active` if none does."""
        if self.failback_at(healths, active) is None:
            return active
        return ActiveBackend(self._earlier(healths, active.backend)[0], now)

    def explain(self, healths: Mapping[str, Health], active: ActiveBackend, now: float) -> str:
        """Return one sentence that says which backend is active, and why."""
        return f"{active.backend} is active: {self._reason(healths, active, now)}"

    def _reason(self, healths: Mapping[str, Health], active: ActiveBackend, now: float) -> str:
        name = active.backend
        if self._pinned:
            although = "" if self._works(healths[name]) else f", although it is {condition(healths[name])}"
            return f"it is pinned{_remaining(self.overrides.pins[name], now)}{although}"
        if len(self.backends) == 1:
            return "its route has no other backend"
        if all(backend in self.overrides.drains for backend in self.backends):
            return "all backends are drained, so requests go to the first one"
        if not any(self._works(healths[backend]) for backend in self.candidates):
            which = "backends that are not drained" if len(self.candidates) < len(self.backends) else "backends"
            limited = any(healths[backend].state is State.LIMITED for backend in self.candidates)
            return f"all {which} are down{' or limited' if limited else ''}, so the last one that worked stays active"
        if name not in self._usable(healths):
            return f"it is {condition(healths[name])}, and the others are probed before one of them takes over"
        due = self.failback_at(healths, active)
        if due is not None:
            successor = min(self._earlier(healths, name), key=lambda backend: self._due(healths[backend]))
            return f"{successor} takes over in {spell(due - now)} if it stays up"
        earlier = self.backends[: self.backends.index(name)]
        if not earlier:
            return f"it is the preferred backend and is {condition(healths[name])}"
        return ", ".join(self._why_not(backend, healths[backend], now) for backend in earlier)

    def _why_not(self, name: str, health: Health, now: float) -> str:
        if name in self.overrides.drains:
            return f"{name} is drained{_remaining(self.overrides.drains[name], now)}"
        return describe(name, health)

    def _choose_name(self, healths: Mapping[str, Health], current: str | None, now: float) -> str:
        if self._pinned:
            return self._pinned
        if all(name in self.overrides.drains for name in self.backends):
            return self.backends[0]
        usable = self._usable(healths)
        if current not in usable:
            return self._choose_successor(usable, healths, current if current in self.candidates else None, now)
        earlier = self._earlier(healths, current)
        return next((name for name in earlier if now >= self._due(healths[name])), current)

    def _choose_successor(
        self, usable: Sequence[str], healths: Mapping[str, Health], current: str | None, now: float
    ) -> str:
        """Return the backend that is active after `current`, which is not usable; `current` is None if it is drained.

        What looks like an outage of every backend is probably one of this machine's own network. So nothing moves to a
        backend that is failing too or has not been probed, nor away from one that recovers at the same time, or may:
        what recovers first waits until `current` has been probed.
        """
        if current is not None and healths[current].is_recovering:
            return current
        known = [name for name in usable if healths[name].state is not State.UNKNOWN]
        steady = [name for name in known if not healths[name].is_failing]
        if current is not None:
            steady = [name for name in steady if not healths[current].may_recover_with(healths[name], now)]
        if current is not None and not steady:
            return current
        return (steady or known or usable or self.candidates)[0]

    def _usable(self, healths: Mapping[str, Health]) -> list[str]:
        """Return the candidates that may be active; degraded ones only if there is no other."""
        working = [name for name in self.candidates if self._works(healths[name])]
        return [name for name in working if healths[name].degraded is None] or working

    @property
    def _pinned(self) -> str | None:
        """The pinned backend, if this route has it."""
        return self.overrides.pinned if self.overrides.pinned in self.backends else None

    def _works(self, health: Health) -> bool:
        return health.usable(self.purpose)

    def _earlier(self, healths: Mapping[str, Health], name: str) -> list[str]:
        """Return the candidates before `name` that are known to work well."""
        return [
            backend
            for backend in self.candidates[: self.candidates.index(name)]
            if self._works(healths[backend]) and healths[backend].is_sound
        ]

    def _due(self, health: Health) -> float:
        """Return when a backend that works will have been up for long enough to become active again."""
        return health.usable_since(self.purpose) + health.failback_after(self.failback_after, self.purpose)


def summarise(
    backends: Sequence[str],
    healths: Mapping[str, Health],
    active: ActiveBackend,
    overrides: Overrides,
    format_time: Callable[[float], str],
) -> str:
    """Return one line for a service manager.

    For example `docker-hub has been down since 02:13 (token server: timeout); ghcr is active`. `format_time` formats a
    time in monotonic seconds for a person.
    """
    troubles = [
        f"{name} has been {condition(healths[name])} since {format_time(healths[name].since)}{cause(healths[name])}"
        for name in backends
        if condition(healths[name]) != State.UP.value
    ]
    drained = [f"{name} has been drained since {format_time(drain.since)}" for name, drain in overrides.drains.items()]
    pin = overrides.pins.get(active.backend)
    pinned = f" (pinned since {format_time(pin.since)})" if pin else ""
    return "; ".join([*troubles, *drained, f"{active.backend} is active{pinned}"])


def _remaining(override: Override, now: float) -> str:
    """Return how long an override still lasts, and its reason."""
    remaining = "" if override.until is None else f" for another {spell(override.until - now)}"
    return f"{remaining}{override.remark}"
