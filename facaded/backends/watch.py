"""The watch over the backends: probes them, keeps what they said, and knows who is in charge.

This is where the pure machines of `policy` meet time and the network. Nothing else changes a backend's state.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import TypeAlias

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.backends.probes import Prober
from facaded.policy import failover, health
from facaded.policy.answers import Situation
from facaded.policy.failover import Charge, Order
from facaded.policy.health import Health, Purpose, Result, State, Step, Verdict

Place: TypeAlias = tuple[tuple[str, ...], Purpose]
"""Where one may be in charge: a route, by its backends, and what for."""

FIRST_ROUND = 3.0
"""Seconds that the first round of probes may take, and so the longest that a request waits for it.

Clients give a ping 15 s.
"""


@frozen
class Watched:
    """One backend to watch.

    `identity` is what makes it the same backend after a reload; `probe` makes one probe of it.
    """

    identity: tuple[object, ...]
    probe: Callable[[], Deferred[Result]] = field(eq=False)


@frozen
class Plan:
    """What to watch and by which rules.

    `routes` name the backends of each route, preferred first; only backends that a route names are in `backends`.
    Times are in seconds.
    """

    backends: Mapping[str, Watched]
    routes: tuple[tuple[str, ...], ...]
    settings: health.Settings
    failback_after: float
    handover: float = 0.0

    @property
    def orders(self) -> dict[Place, Order]:
        """Who may be in charge where, and by which rules."""
        return {
            (route, purpose): Order(route, self.failback_after, purpose) for route in self.routes for purpose in Purpose
        }


@frozen
class Standing:
    """What is known at one moment.

    Each backend's health, who is in charge where, and when a redirect last led elsewhere.
    """

    healths: Mapping[str, Health]
    charges: Mapping[Place, Charge]
    changed: float | None = None


class Watch(Service):
    """Probes backends for as long as it runs.

    `clock` gives monotonic seconds, `random` the jitter. `kept` is what an earlier run knew, by `health.remembered`.
    `changed` is called after every change of a backend's state or of who is in charge, with a line that says what
    changed.
    """

    def __init__(
        self, clock: IReactorTime, random: Random, plan: Plan, kept: Standing | None, changed: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.settled = False
        self._clock = clock
        self._random = random
        self._changed = changed
        self._probers: dict[str, Prober] = {}
        self._unanswered = set(plan.backends)
        self._waiting: list[Deferred[None]] = []
        self._first_round: IDelayedCall | None = None
        self._failback: IDelayedCall | None = None
        healths = {name: Health(State.UNKNOWN, clock.seconds()) for name in plan.backends}
        if kept is not None:
            healths |= {name: each for name, each in kept.healths.items() if name in healths}
        charges = self._choose(healths, kept.charges if kept else {})
        self.standing = Standing(healths, charges, kept.changed if kept else None)

    def startService(self) -> None:
        Service.startService(self)
        self._first_round = self._clock.callLater(FIRST_ROUND, self._end_first_round)
        for name in self.plan.backends:
            self._start_prober(name)

    def stopService(self) -> None:
        Service.stopService(self)
        for name in list(self._probers):
            self._probers.pop(name).stop()
        self._settle()
        self._cancel_failback()

    def when_settled(self) -> Deferred[None]:
        """Fires when the first round of probes is over; at once if it is. May be cancelled."""
        done: Deferred[None] = Deferred(self._waiting.remove)
        if self.settled:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done

    def replan(self, plan: Plan) -> None:
        """Go on by another plan.

        What is known of a backend is kept if it is the same one; others are probed at once.
        """
        before, leading, self.plan = self.plan, self.charge.backend, plan
        same = {name for name in plan.backends if before.backends.get(name) == plan.backends[name]}
        going_on = same if before.settings == plan.settings else set()  # else all go by the new times at once
        for name in set(self._probers) - going_on:
            self._probers.pop(name).stop()
        unknown = Health(State.UNKNOWN, self._clock.seconds())
        healths = {name: self.standing.healths[name] if name in same else unknown for name in plan.backends}
        self._unanswered &= same
        self._stand(healths)
        if self.charge.backend != leading:
            self.standing = evolve(self.standing, changed=self._clock.seconds())
        for name in plan.backends:
            if self.running and name not in going_on:
                self._start_prober(name)

    @property
    def charge(self) -> Charge:
        """Who is in charge of redirects for the repositories that no route of the settings names."""
        return self.standing.charges[self.plan.routes[-1], Purpose.REDIRECT]

    def situation(self) -> Situation:
        """Who is in charge of each route, and whether a redirect led elsewhere a short time ago."""
        charges, changed = self.standing.charges, self.standing.changed
        redirecting, serving = (
            tuple(charges[route, purpose].backend for route in self.plan.routes) for purpose in Purpose
        )
        handover = changed is not None and self._clock.seconds() < changed + self.plan.handover
        return Situation(redirecting, serving, handover)

    def explain(self) -> str:
        """Who is in charge and why, in one sentence."""
        order = self.plan.orders[self.plan.routes[-1], Purpose.REDIRECT]
        return order.explain(self.standing.healths, self.charge, self._clock.seconds())

    def probe_now(self, name: str) -> None:
        """A request has failed at this backend: make its next probe at once, unless one is under way."""
        if name in self._probers:
            self._probers[name].hasten()

    def _start_prober(self, name: str) -> None:
        prober = Prober(self._clock, self.plan.backends[name].probe, lambda result: self._heard(name, result))
        self._probers[name] = prober
        prober.start()

    def _heard(self, name: str, result: Result) -> float:
        self._observe(name, result)
        self._unanswered.discard(name)
        if not self._unanswered:
            self._settle()
        return health.wait(self.standing.healths[name], self.plan.settings, self._random.random())

    def _end_first_round(self) -> None:
        """A backend that has not answered by now is down if another is up: requests must not wait for it any longer."""
        healths = self.standing.healths
        if any(healths[name].state in (State.UP, State.LIMITED) for name in self.plan.backends):
            for name in sorted(self._unanswered):
                self._observe(name, Result(Verdict.BAD, Step.PING, f"no answer within {FIRST_ROUND:g} s", FIRST_ROUND))
        self._settle()

    def _settle(self) -> None:
        self.settled = True
        if self._first_round is not None and self._first_round.active():
            self._first_round.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _observe(self, name: str, result: Result) -> None:
        before = self.standing.healths[name]
        after = health.observe(before, result, self._clock.seconds(), self.plan.settings)
        self._stand({**self.standing.healths, name: after})

    def _stand(self, healths: Mapping[str, Health]) -> None:
        """Take up a new standing, say what changed, and arrange for a failback that is due later."""
        before, now = self.standing, self._clock.seconds()
        charges = self._choose(healths, before.charges)
        changed = now if self.settled and _leads_elsewhere(before.charges, charges) else before.changed
        self.standing = Standing(healths, charges, changed)
        self._cancel_failback()
        orders = self.plan.orders
        dues = (orders[place].failback_at(healths, charge) for place, charge in charges.items())
        due = min((each for each in dues if each is not None), default=None)
        if due is not None and self.running:
            self._failback = self._clock.callLater(max(due - now, 0), lambda: self._stand(self.standing.healths))
        if news := self._news(before):
            self._changed(news)

    def _news(self, before: Standing) -> str:
        now = self.standing
        states = [
            failover.describe(name, each)
            for name, each in now.healths.items()
            if name not in before.healths or before.healths[name].state is not each.state
        ]
        if states:
            return "; ".join([*states, f"{self.charge.backend} in charge"])
        return self.explain() if _leads_elsewhere(before.charges, now.charges) else ""

    def _choose(self, healths: Mapping[str, Health], charges: Mapping[Place, Charge]) -> dict[Place, Charge]:
        now = self._clock.seconds()
        return {
            place: order.choose(healths, _still(charges.get(place), healths), now)
            for place, order in self.plan.orders.items()
        }

    def _cancel_failback(self) -> None:
        if self._failback is not None and self._failback.active():
            self._failback.cancel()
        self._failback = None


def _still(charge: Charge | None, healths: Mapping[str, Health]) -> Charge | None:
    """A charge, unless its backend is gone from the settings."""
    return charge if charge and charge.backend in healths else None


def _leads_elsewhere(before: Mapping[Place, Charge], after: Mapping[Place, Charge]) -> bool:
    """Whether a redirect leads to another backend than before, on any route."""
    return any(
        purpose is Purpose.REDIRECT and (route, purpose) in before and before[route, purpose].backend != charge.backend
        for (route, purpose), charge in after.items()
    )
