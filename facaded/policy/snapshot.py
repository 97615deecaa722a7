"""A snapshot of the watch: its state, its plan, and what follows from both at one moment."""

from collections.abc import Mapping

from attrs import frozen

from facaded.policy import health
from facaded.policy.decision import RoutingState
from facaded.policy.failover import ActiveBackend, Place
from facaded.policy.health import LONGEST_HOLD, Health, Purpose, Rank
from facaded.policy.plan import Plan
from facaded.policy.watch_state import WatchState, active_backends


@frozen
class RoutingView:
    """What answers depend on: the state that routes requests, and the health of each backend."""

    routing: RoutingState
    healths: Mapping[str, Health]


@frozen
class Snapshot:
    """The state and the plan of the watch at the time `at`, in monotonic seconds.

    `settled` is whether the first round of probes has ended.
    """

    plan: Plan
    watch_state: WatchState
    at: float
    settled: bool = True

    @property
    def active(self) -> ActiveBackend:
        """The active backend for redirects on the last route, which is that of repositories without a named route."""
        return self.watch_state.active[self._last_place]

    @property
    def drifts(self) -> dict[str, str]:
        """How the canary drifts, by backend."""
        return health.find_drifts(self.watch_state.healths, self.plan.canaries)

    @property
    def handover_until(self) -> float | None:
        """When the handover in progress ends, or None without one."""
        changed_at = self.watch_state.ping_target_changed_at
        until = None if changed_at is None else changed_at + self.plan.handover
        return until if until is not None and self.at < until else None

    @property
    def routing(self) -> RoutingState:
        """The state that answers depend on."""
        healths = self.watch_state.healths
        return RoutingState(
            active_backends(self.plan, self.watch_state.active, Purpose.REDIRECT),
            active_backends(self.plan, self.watch_state.active, Purpose.SERVE),
            self.handover_until is not None,
            frozenset(self.watch_state.overrides.drains),
            self.watch_state.overrides.pinned,
            {name: health.rank for name, health in healths.items() if health.rank is not Rank.UP},
            frozenset(name for name, health in healths.items() if health.is_resting(self.at)),
        )

    @property
    def view(self) -> RoutingView:
        """What answers depend on."""
        return RoutingView(self.routing, self.watch_state.healths)

    @property
    def next_due(self) -> float | None:
        """When the next change is due if no probe brings one earlier, or None.

        Failbacks are due, and the ends of overrides, of a handover, of a Retry-After, and of a recovery's wait.
        """
        watch_state = self.watch_state
        selectors = self.plan.selectors(watch_state.overrides)
        failbacks = [
            selectors[place].failback_at(watch_state.healths, active) for place, active in watch_state.active.items()
        ]
        rests = [health.retry_at for health in watch_state.healths.values() if health.is_resting(self.at)]
        recoveries = (health.recovering_since for health in watch_state.healths.values())
        holds = [since + LONGEST_HOLD for since in recoveries if since is not None and self.at < since + LONGEST_HOLD]
        dues = (*failbacks, watch_state.overrides.next_expiry, self.handover_until, *rests, *holds)
        return min((due for due in dues if due is not None), default=None)

    def explain(self, place: Place | None = None) -> str:
        """Return a sentence that says which backend is active and why; by default, for redirects on the last route."""
        place = place or self._last_place
        selector = self.plan.selectors(self.watch_state.overrides)[place]
        return selector.explain(self.watch_state.healths, self.watch_state.active[place], self.at)

    @property
    def _last_place(self) -> Place:
        return self.plan.routes[-1], Purpose.REDIRECT
