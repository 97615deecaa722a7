"""A snapshot of the watch: what a watch_state means under a plan, at one moment."""

from attrs import frozen

from facaded.policy import health
from facaded.policy.decision import RoutingState
from facaded.policy.failover import Active, Place
from facaded.policy.health import Purpose
from facaded.policy.plan import Plan
from facaded.policy.watch_state import WatchState, active_backends


@frozen
class Snapshot:
    """A watch_state, the plan that it follows, and the time `at` which it is looked at, in monotonic seconds."""

    plan: Plan
    watch_state: WatchState
    at: float

    @property
    def active(self) -> Active:
        """Which backend is active of redirects for the repositories that no route of the settings names."""
        return self.watch_state.active[self._last_place]

    @property
    def drifts(self) -> dict[str, str]:
        """How the canary drifts, by backend."""
        return health.drifts(self.watch_state.healths, self.plan.canaries)

    @property
    def handover_until(self) -> float | None:
        """When the handover ends that is under way, or None without one."""
        changed = self.watch_state.changed
        until = None if changed is None else changed + self.plan.handover
        return until if until is not None and self.at < until else None

    @property
    def routing(self) -> RoutingState:
        """What answers depend on: which backend is active of each route, a handover, and who is drained."""
        return RoutingState(
            active_backends(self.plan, self.watch_state.active, Purpose.REDIRECT),
            active_backends(self.plan, self.watch_state.active, Purpose.SERVE),
            self.handover_until is not None,
            frozenset(self.watch_state.overrides.drains),
        )

    @property
    def next_due(self) -> float | None:
        """When the next thing happens if no probe says anything new: a failback, or the end of an override or handover.

        None if nothing is due.
        """
        watch_state = self.watch_state
        selectors = self.plan.selectors(watch_state.overrides)
        failbacks = [
            selectors[place].failback_at(watch_state.healths, active) for place, active in watch_state.active.items()
        ]
        dues = (*failbacks, watch_state.overrides.next_end, self.handover_until)
        return min((due for due in dues if due is not None), default=None)

    def explain(self, place: Place | None = None) -> str:
        """Which backend is active and why, in one sentence; without a `place`, of redirects on the last route."""
        place = place or self._last_place
        selector = self.plan.selectors(self.watch_state.overrides)[place]
        return selector.explain(self.watch_state.healths, self.watch_state.active[place], self.at)

    @property
    def _last_place(self) -> Place:
        return self.plan.routes[-1], Purpose.REDIRECT
