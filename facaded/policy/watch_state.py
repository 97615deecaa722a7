"""The state of the watch: the health of all backends, the overrides, and the active backends that follow from them.

Pure: plans, backend health, overrides and times go in, the next `WatchState` comes out. Times are monotonic seconds.
"""

from collections.abc import Mapping

from attrs import evolve, field, frozen

from facaded.policy.failover import ActiveBackend, Place
from facaded.policy.health import Health, Purpose, State, restore
from facaded.policy.overrides import Overrides
from facaded.policy.plan import Plan

FORGOTTEN = "?"
"""A ping target that equals no other: the state file that had the last one cannot be read."""


@frozen
class WatchState:
    """The state of the watch at one moment.

    `healths` is the health of each backend, `active` the active backend of each place, `overrides` are those of the
    operator. `last_ping_target` is where `GET /v2/` leads clients, or None before the first round of probes has ended;
    `ping_target_changed_at` is when that last changed.
    """

    healths: Mapping[str, Health]
    active: Mapping[Place, ActiveBackend]
    overrides: Overrides = field(factory=Overrides)
    last_ping_target: str | None = None
    ping_target_changed_at: float | None = None

    def rivals(self, name: str) -> frozenset[str]:
        """Return the backends to probe before another one becomes active, after a result of the backend `name`.

        When an active backend begins to fail, these are the others of its routes, one of which may take over. When all
        of a route are down and one begins to recover, they are the others, which probably recover too.
        """
        health = self.healths[name]

        def concerns(route: tuple[str, ...], active: str) -> bool:
            if health.is_failing:
                return active == name
            all_down = all(self.healths[backend].state is State.DOWN for backend in route)
            return name in route and health.is_recovering and all_down

        routes = {route for (route, _), active in self.active.items() if concerns(route, active.backend)}
        return frozenset(backend for route in routes for backend in route if backend != name)

    def is_awaited(self, name: str, now: float) -> bool:
        """Return whether the backend `name` is active and down, and another waits until it has been probed."""
        others = {other for (route, _), active in self.active.items() if active.backend == name for other in route}
        return any(self.healths[name].may_recover_with(self.healths[other], now) for other in others)

    @property
    def canary_seen(self) -> frozenset[str]:
        """The backends that have ever had the canary."""
        return frozenset(name for name, health in self.healths.items() if health.canary_seen)


def begin(plan: Plan, saved: WatchState | None, now: float) -> WatchState:
    """Return the state to start from. `saved` is that of an earlier run, its healths restored by `health.restore`."""
    saved = saved or WatchState({}, {})
    healths = {name: saved.healths.get(name) or Health(State.UNKNOWN, now) for name in plan.backends}
    overrides = saved.overrides.in_force(plan.backends, now)
    active = _choose(plan, healths, overrides, saved.active, now)
    return WatchState(healths, active, overrides, saved.last_ping_target, saved.ping_target_changed_at)


def follow(
    before: WatchState, plan: Plan, healths: Mapping[str, Health], overrides: Overrides, now: float, *, settled: bool
) -> WatchState:
    """Return the state that follows `before` with these healths and overrides.

    `settled` is whether the first round of probes has ended. Until then no request is answered, so the ping target
    stays as it was.
    """
    overrides = overrides.in_force(plan.backends, now)
    active = _choose(plan, healths, overrides, before.active, now)
    target = plan.ping_target(active_backends(plan, active, Purpose.REDIRECT)) if settled else before.last_ping_target
    changed_at = now if before.last_ping_target not in (None, target) else before.ping_target_changed_at
    return WatchState(healths, active, overrides, target, changed_at)


def fail_back(before: WatchState, plan: Plan, now: float) -> dict[Place, ActiveBackend]:
    """Return the active backends if none waits for its failback any more."""
    selectors = plan.selectors(before.overrides)
    return {place: selectors[place].fail_back(before.healths, active, now) for place, active in before.active.items()}


def carry_over(watch_state: WatchState, before: Plan, plan: Plan, now: float) -> dict[str, Health]:
    """Return the health of each backend of a new plan. The state and the plan before have the new names already.

    An unchanged backend keeps its health. One that is probed in another way now gets its health as after a restart. Any
    other backend is unknown.
    """
    unchanged = plan.unchanged_since(before)

    def health(name: str) -> Health:
        if name in unchanged:
            return watch_state.healths[name]
        if name not in before.backends:
            return Health(State.UNKNOWN, now)
        restored = restore(watch_state.healths[name])
        same_canary = before.backends[name].identity == plan.backends[name].identity
        return restored if same_canary else forget_canary(restored)

    return {name: health(name) for name in plan.backends}


def forget_canary(health: Health) -> Health:
    """Return the health of a backend whose canary is another image now: no step has reached that one yet."""
    return evolve(health, canary=None, canary_seen=False, deepest_failed_step=None, deep_at=None, body_at=None)


def active_backends(plan: Plan, active: Mapping[Place, ActiveBackend], purpose: Purpose) -> tuple[str, ...]:
    """Return the name of each route's active backend."""
    return tuple(active[route, purpose].backend for route in plan.routes)


def _choose(
    plan: Plan, healths: Mapping[str, Health], overrides: Overrides, active: Mapping[Place, ActiveBackend], now: float
) -> dict[Place, ActiveBackend]:
    return {
        place: selector.choose(healths, _previous(place, active, healths), now)
        for place, selector in plan.selectors(overrides).items()
    }


def _previous(
    place: Place, active: Mapping[Place, ActiveBackend], healths: Mapping[str, Health]
) -> ActiveBackend | None:
    """Return the backend that was active, or None if the settings no longer have it.

    A new route continues with the active backend of the route that is most like it, so that it does not fail back too
    early.
    """
    route, purpose = place
    possible = {
        other: previous
        for (other, others_purpose), previous in reversed([*active.items()])
        if others_purpose is purpose and previous.backend in route and previous.backend in healths
    }
    return possible[max(possible, key=lambda other: _likeness(other, route))] if possible else None


def _likeness(other: tuple[str, ...], route: tuple[str, ...]) -> tuple[bool, int, bool]:
    """Return how much a route is like another, to be compared: equal, the backends of both, and in the same order."""
    common = [name for name in other if name in route]
    return other == route, len(common), common == [name for name in route if name in other]
