"""A snapshot of the watch: what a standing means under a plan, at one moment."""

from attrs import frozen

from facaded.policy import health
from facaded.policy.answers import Situation
from facaded.policy.failover import Charge, Place
from facaded.policy.health import Purpose
from facaded.policy.plan import Plan
from facaded.policy.standing import Standing, in_charge


@frozen
class Snapshot:
    """A standing, the plan that it follows, and the time `at` which it is looked at, in monotonic seconds."""

    plan: Plan
    standing: Standing
    at: float

    @property
    def charge(self) -> Charge:
        """Who is in charge of redirects for the repositories that no route of the settings names."""
        return self.standing.charges[self._last_place]

    @property
    def drifts(self) -> dict[str, str]:
        """How the canary drifts, by backend."""
        return health.drifts(self.standing.healths, self.plan.canaries)

    @property
    def handover_until(self) -> float | None:
        """When the handover ends that is under way, or None without one."""
        changed = self.standing.changed
        until = None if changed is None else changed + self.plan.handover
        return until if until is not None and self.at < until else None

    @property
    def situation(self) -> Situation:
        """What answers depend on: who is in charge of each route, a handover, and who is drained."""
        return Situation(
            in_charge(self.plan, self.standing.charges, Purpose.REDIRECT),
            in_charge(self.plan, self.standing.charges, Purpose.SERVE),
            self.handover_until is not None,
            frozenset(self.standing.overrides.drains),
        )

    @property
    def next_due(self) -> float | None:
        """When the next thing happens if no probe says anything new: a failback, or the end of an override or handover.

        None if nothing is due.
        """
        standing = self.standing
        orders = self.plan.orders(standing.overrides)
        failbacks = [orders[place].failback_at(standing.healths, charge) for place, charge in standing.charges.items()]
        dues = (*failbacks, standing.overrides.next_end, self.handover_until)
        return min((due for due in dues if due is not None), default=None)

    def explain(self, place: Place | None = None) -> str:
        """Who is in charge and why, in one sentence; without a `place`, of redirects on the last route."""
        place = place or self._last_place
        order = self.plan.orders(self.standing.overrides)[place]
        return order.explain(self.standing.healths, self.standing.charges[place], self.at)

    @property
    def _last_place(self) -> Place:
        return self.plan.routes[-1], Purpose.REDIRECT
