"""The standing: what is known of all backends at one moment, and what follows from it.

Pure: plans, healths, overrides and times go in, the next `Standing` comes out. Times are monotonic seconds.
"""

from collections.abc import Mapping

from attrs import field, frozen

from facaded.policy.failover import Charge, Place
from facaded.policy.health import Health, Purpose, State, remembered
from facaded.policy.overrides import Overrides
from facaded.policy.plan import Plan

FORGOTTEN = "?"
"""Where clients were led, if that can no longer be read: no place has this name."""


@frozen
class Standing:
    """What is known at one moment.

    Each backend's health, who is in charge where, and the operator's overrides. `pinged` is where `GET /v2/` has led
    clients, None if there were none yet; `changed` is when it last led elsewhere.
    """

    healths: Mapping[str, Health]
    charges: Mapping[Place, Charge]
    overrides: Overrides = field(factory=Overrides)
    pinged: str | None = None
    changed: float | None = None

    @property
    def proven(self) -> frozenset[str]:
        """The backends that have had the canary once."""
        return frozenset(name for name, health in self.healths.items() if health.proven)


def begin(plan: Plan, kept: Standing | None, now: float) -> Standing:
    """Return the standing to start from. `kept` is what an earlier run knew, by `health.remembered`."""
    kept = kept or Standing({}, {})
    healths = {name: kept.healths.get(name) or Health(State.UNKNOWN, now) for name in plan.backends}
    overrides = kept.overrides.left(plan.backends, now)
    return Standing(healths, _choose(plan, healths, overrides, kept.charges, now), overrides, kept.pinged, kept.changed)


def follow(
    before: Standing, plan: Plan, healths: Mapping[str, Health], overrides: Overrides, now: float, *, settled: bool
) -> Standing:
    """Return what follows from these healths and overrides after the standing `before`.

    Until the first round of probes is over and the watch is `settled`, no client has been led anywhere.
    """
    overrides = overrides.left(plan.backends, now)
    charges = _choose(plan, healths, overrides, before.charges, now)
    pinged = plan.pinged(in_charge(plan, charges, Purpose.REDIRECT)) if settled else before.pinged
    changed = now if before.pinged not in (None, pinged) else before.changed
    return Standing(healths, charges, overrides, pinged, changed)


def carry_over(standing: Standing, before: Plan, plan: Plan, now: float) -> dict[str, Health]:
    """Return what is known of each backend of a new plan.

    All that was known, if the backend is the same one and is probed in the same way. If it is probed in another way,
    what is known after a restart; of another backend, nothing.
    """
    alike = plan.alike(before)

    def health(name: str) -> Health:
        if name in alike:
            return standing.healths[name]
        was = before.backends.get(name)
        if was is None or was.identity != plan.backends[name].identity:
            return Health(State.UNKNOWN, now)
        return remembered(standing.healths[name])

    return {name: health(name) for name in plan.backends}


def in_charge(plan: Plan, charges: Mapping[Place, Charge], purpose: Purpose) -> tuple[str, ...]:
    """Who is in charge of each route."""
    return tuple(charges[route, purpose].backend for route in plan.routes)


def _choose(
    plan: Plan, healths: Mapping[str, Health], overrides: Overrides, charges: Mapping[Place, Charge], now: float
) -> dict[Place, Charge]:
    return {
        place: order.choose(healths, _still(place, charges, healths), now)
        for place, order in plan.orders(overrides).items()
    }


def _still(place: Place, charges: Mapping[Place, Charge], healths: Mapping[str, Health]) -> Charge | None:
    """Who has been in charge, unless that backend is gone from the settings.

    A route that is new goes on with who was in charge of another, so that no failback comes before its time.
    """
    route, purpose = place
    others = (charge for (_, for_), charge in reversed([*charges.items()]) if for_ is purpose)
    found = (charge for charge in (charges.get(place), *others) if charge)
    return next((charge for charge in found if charge.backend in route and charge.backend in healths), None)
