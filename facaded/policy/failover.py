"""Which backend is active: the first backend that works, and a patient way back to an earlier one.

Pure: the healths, the order and the time go in, a `Active` comes out. Times are monotonic seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

from facaded.policy.health import Health, Purpose, State
from facaded.policy.overrides import Override, Overrides

Place: TypeAlias = tuple[tuple[str, ...], Purpose]
"""Where a backend may be active: a route, by its backends, and what for."""


@frozen
class Active:
    """The backend that requests are sent to, and since when."""

    backend: str
    since: float


@frozen
class Selector:
    """The backends of one route, preferred first and at least one, and what one of them is to be active for.

    `failback_after` is how long an earlier backend must have been up before it is active again, in seconds;
    relapses lengthen it. `overrides` are those in force.
    """

    backends: tuple[str, ...]
    failback_after: float
    purpose: Purpose = Purpose.REDIRECT
    overrides: Overrides = field(factory=Overrides)

    @property
    def taking_part(self) -> tuple[str, ...]:
        """The backends that are not drained; with all of them drained, all: somebody has to answer."""
        if not self.overrides.drains:
            return self.backends
        undrained = tuple(name for name in self.backends if name not in self.overrides.drains)
        return undrained or self.backends

    def choose(self, healths: Mapping[str, Health], active: Active | None, now: float) -> Active:
        """Say which backend is active now; `active` is who was until now.

        With all of them down the first is active: it may be this machine's own network that is broken.
        """
        chosen = self._chosen(healths, active.backend if active else None, now)
        return active if active and active.backend == chosen else Active(chosen, now)

    def failback_at(self, healths: Mapping[str, Health], active: Active) -> float | None:
        """When an earlier backend takes over again if nothing else happens, or None if none is on its way back."""
        if self._pinned or active.backend not in self.taking_part or not self._works(healths[active.backend]):
            return None
        return min((self._due(healths[name]) for name in self._earlier(healths, active.backend)), default=None)

    def explain(self, healths: Mapping[str, Health], active: Active, now: float) -> str:
        """One sentence: which backend is active, and why. Times are in seconds from `now`."""
        return f"{active.backend} is active: {self._reason(healths, active, now)}"

    def _reason(self, healths: Mapping[str, Health], active: Active, now: float) -> str:
        name = active.backend
        if self._pinned:
            although = "" if self._works(healths[name]) else f", although it is {healths[name].state.value}"
            return f"it is pinned{_remaining(self.overrides.pins[name], now)}{although}"
        if len(self.backends) == 1:
            return "no other backend may stand in"
        if all(each in self.overrides.drains for each in self.backends):
            return "every backend is drained, so the first one keeps the requests"
        if not any(self._works(healths[each]) for each in self.taking_part):
            which = "backend that is not drained" if len(self.taking_part) < len(self.backends) else "backend"
            limited = any(healths[each].state is State.LIMITED for each in self.taking_part)
            return f"every {which} is down{' or limited' if limited else ''}, so the first one keeps the requests"
        due = self.failback_at(healths, active)
        if due is not None:
            back = min(self._earlier(healths, name), key=lambda each: self._due(healths[each]))
            return f"{back} is back, and takes over in {spell(due - now)} if it stays up"
        earlier = self.backends[: self.backends.index(name)]
        if not earlier:
            return f"it is the first and {healths[name].state.value}"
        return ", ".join(self._why_not(each, healths[each], now) for each in earlier)

    def _why_not(self, name: str, health: Health, now: float) -> str:
        if name in self.overrides.drains:
            return f"{name} is drained{_remaining(self.overrides.drains[name], now)}"
        return describe(name, health)

    def _chosen(self, healths: Mapping[str, Health], current: str | None, now: float) -> str:
        if self._pinned:
            return self._pinned
        if all(name in self.overrides.drains for name in self.backends):
            return self.backends[0]
        usable = [name for name in self.taking_part if self._works(healths[name])]
        if not usable:
            return self.taking_part[0]
        if current not in usable:
            return next((name for name in usable if healths[name].state is not State.UNKNOWN), usable[0])
        earlier = self._earlier(healths, current)
        return next((name for name in earlier if now >= self._due(healths[name])), current)

    @property
    def _pinned(self) -> str | None:
        """The pinned backend, if this route has it."""
        return self.overrides.pinned if self.overrides.pinned in self.backends else None

    def _works(self, health: Health) -> bool:
        return health.usable(self.purpose)

    def _earlier(self, healths: Mapping[str, Health], name: str) -> list[str]:
        """The backends before `name` that are known to work."""
        earlier = self.taking_part[: self.taking_part.index(name)]
        return [each for each in earlier if self._works(healths[each]) and healths[each].state is not State.UNKNOWN]

    def _due(self, health: Health) -> float:
        """When a backend that works has been up for long enough."""
        return health.usable_since(self.purpose) + health.failback_after(self.failback_after)


def summarise(
    backends: Sequence[str],
    healths: Mapping[str, Health],
    active: Active,
    overrides: Overrides,
    written: Callable[[float], str],
) -> str:
    """One line for a service manager: `docker-hub down (token server: time-out) since 02:13; ghcr is active`.

    `written` turns a time into what a person reads.
    """
    troubles = [
        f"{describe(name, healths[name])} since {written(healths[name].since)}"
        for name in backends
        if healths[name].state is not State.UP
    ]
    drained = [f"{name} drained since {written(each.since)}" for name, each in overrides.drains.items()]
    pinned = (
        f" (pinned since {written(overrides.pins[active.backend].since)})" if active.backend in overrides.pins else ""
    )
    return "; ".join([*troubles, *drained, f"{active.backend} is active{pinned}"])


def describe(name: str, health: Health) -> str:
    """A backend's state in words, with what failed: `docker-hub down (token server: time-out)`."""
    if health.state in (State.DOWN, State.LIMITED) and health.failed:
        return f"{name} {health.state.value} ({health.failed.step.value}: {health.failed.reason})"
    return f"{name} {health.state.value}"


def spell(seconds: float) -> str:
    """A duration as a person says it: `40 s`, `5 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{max(seconds, 0.0):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(f"{count} {unit}" for count, unit in ((hours, "h"), (minutes, "min")) if count)


def _remaining(override: Override, now: float) -> str:
    return "" if override.until is None else f" for another {spell(override.until - now)}"
