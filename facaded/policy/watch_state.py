"""The watch_state: what is known of all backends at one moment, and what follows from it.

Pure: plans, healths, overrides and times go in, the next `WatchState` comes out. Times are monotonic seconds.
"""

from collections.abc import Mapping

from attrs import field, frozen

from facaded.policy.failover import Active, Place
from facaded.policy.health import Health, Purpose, State, remembered
from facaded.policy.overrides import Overrides
from facaded.policy.plan import Plan

FORGOTTEN = "?"
"""Where clients were led, if that can no longer be read: no place has this name."""


@frozen
class WatchState:
    """What is known at one moment.

    Each backend's health, the active backend at each place, and the operator's overrides. `last_ping_target` is where
    `GET /v2/` has led clients, None if there were none yet; `changed` is when it last led elsewhere.
    """

    healths: Mapping[str, Health]
    active: Mapping[Place, Active]
    overrides: Overrides = field(factory=Overrides)
    last_ping_target: str | None = None
    changed: float | None = None

    @property
    def canary_seen(self) -> frozenset[str]:
        """The backends that have had the canary once."""
        return frozenset(name for name, health in self.healths.items() if health.canary_seen)


def begin(plan: Plan, kept: WatchState | None, now: float) -> WatchState:
    """Return the watch_state to start from. `kept` is what an earlier run knew, by `health.remembered`."""
    kept = kept or WatchState({}, {})
    healths = {name: kept.healths.get(name) or Health(State.UNKNOWN, now) for name in plan.backends}
    overrides = kept.overrides.left(plan.backends, now)
    return WatchState(
        healths, _choose(plan, healths, overrides, kept.active, now), overrides, kept.last_ping_target, kept.changed
    )


def follow(
    before: WatchState, plan: Plan, healths: Mapping[str, Health], overrides: Overrides, now: float, *, settled: bool
) -> WatchState:
    """Return what follows from these healths and overrides after the watch_state `before`.

    Until the first round of probes is over and the watch is `settled`, no client has been led anywhere.
    """
    overrides = overrides.left(plan.backends, now)
    active = _choose(plan, healths, overrides, before.active, now)
    target = plan.ping_target(active_backends(plan, active, Purpose.REDIRECT)) if settled else before.last_ping_target
    changed = now if before.last_ping_target not in (None, target) else before.changed
    return WatchState(healths, active, overrides, target, changed)


def carry_over(watch_state: WatchState, before: Plan, plan: Plan, now: float) -> dict[str, Health]:
    """Return what is known of each backend of a new plan.

    All that was known, if the backend is the same one and is probed in the same way. If it is probed in another way,
    what is known after a restart; of another backend, nothing.
    """
    alike = plan.alike(before)

    def health(name: str) -> Health:
        if name in alike:
            return watch_state.healths[name]
        was = before.backends.get(name)
        if was is None or was.identity != plan.backends[name].identity:
            return Health(State.UNKNOWN, now)
        return remembered(watch_state.healths[name])

    return {name: health(name) for name in plan.backends}


def active_backends(plan: Plan, active: Mapping[Place, Active], purpose: Purpose) -> tuple[str, ...]:
    """Which backend is active of each route."""
    return tuple(active[route, purpose].backend for route in plan.routes)


def _choose(
    plan: Plan, healths: Mapping[str, Health], overrides: Overrides, active: Mapping[Place, Active], now: float
) -> dict[Place, Active]:
    return {
        place: selector.choose(healths, _still(place, active, healths), now)
        for place, selector in plan.selectors(overrides).items()
    }


def _still(place: Place, active: Mapping[Place, Active], healths: Mapping[str, Health]) -> Active | None:
    """Who has been active, unless that backend is gone from the settings.

    A route that is new goes on with which backend was active of another, so that no failback comes before its time.
    """
    route, purpose = place
    others = (active for (_, for_), active in reversed([*active.items()]) if for_ is purpose)
    found = (active for active in (active.get(place), *others) if active)
    return next((active for active in found if active.backend in route and active.backend in healths), None)
