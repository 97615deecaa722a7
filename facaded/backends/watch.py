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

from facaded.backends.ladder import Probe
from facaded.backends.prober import Prober
from facaded.policy import failover, health
from facaded.policy.answers import Situation
from facaded.policy.failover import Charge, Order, spell
from facaded.policy.health import Climb, Health, Purpose, Quota, Result, State, Step, Verdict
from facaded.policy.overrides import LONGEST, Override, Overrides

Place: TypeAlias = tuple[tuple[str, ...], Purpose]
"""Where one may be in charge: a route, by its backends, and what for."""

FIRST_ROUND = 3.0
"""Seconds that the first round of probes may take, and so the longest that a request waits for it.

Clients give a ping 15 s.
"""

CLOCK_CHECK = 1.0
"""Seconds between looks at the clocks: after a machine was suspended, all that is known is old."""

CLOCK_STEP = 30.0
"""Seconds by which wall and monotonic time drift apart before all backends are probed: more than any correction."""

FORGOTTEN = "?"
"""What clients were led to, when that cannot be read any more: no place is called so."""


@frozen
class Watched:
    """One backend to watch.

    `identity` is what makes it the same backend after a reload, and `manner` what makes it be asked in the same way;
    `probe` makes one probe of it. `canary` is the image that it is asked for, by the facade's name; empty if there is
    none.
    """

    identity: tuple[object, ...]
    probe: Probe = field(eq=False)
    canary: str = ""
    manner: tuple[object, ...] = ()


@frozen
class Plan:
    """What to watch and by which rules.

    `routes` name the backends of each route, preferred first; only backends that a route names are in `backends`.
    `handover` is in seconds. `pinged` says where `GET /v2/` leads a client that learns its token there, by who is in
    charge of redirects for each route.
    """

    backends: Mapping[str, Watched]
    routes: tuple[tuple[str, ...], ...]
    settings: health.Settings
    handover: float = 0.0
    pinged: Callable[[tuple[str, ...]], str] = field(default=" ".join, eq=False)

    def orders(self, overrides: Overrides) -> dict[Place, Order]:
        """Who may be in charge where, and by which rules."""
        return {
            (route, purpose): Order(route, self.settings.failback_after, purpose, overrides)
            for route in self.routes
            for purpose in Purpose
        }

    @property
    def canaries(self) -> dict[str, str]:
        """The canary of each backend that has one."""
        return {name: each.canary for name, each in self.backends.items() if each.canary}


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


class Watch(Service):
    """Probes backends for as long as it runs.

    `clock` gives monotonic seconds, `wall` those since the epoch, `random` the jitter. `kept` is what an earlier run
    knew, by `health.remembered`. `changed` is called after every change of a backend's state, of who is in charge, of
    an override or of drift, with a line that says what changed; without one, for what is to be kept and no news.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        random: Random,
        plan: Plan,
        kept: Standing | None,
        changed: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.settled = False
        self.quotas: dict[str, dict[str, tuple[Quota, float]]] = {}
        self._clock = clock
        self._wall = wall
        self._random = random
        self._changed = changed
        self._probers: dict[str, Prober] = {}
        self._deepened: set[str] = set()
        self._unanswered = set(plan.backends)
        self._waiting: list[Deferred[None]] = []
        self._first_round: IDelayedCall | None = None
        self._due: IDelayedCall | None = None
        self._look: IDelayedCall | None = None
        self._apart = self._clocks_apart()
        now = clock.seconds()
        kept = kept or Standing({}, {})
        healths = {name: kept.healths.get(name) or Health(State.UNKNOWN, now) for name in plan.backends}
        overrides = kept.overrides.left(plan.backends, now)
        charges = self._choose(healths, overrides, kept.charges)
        self.standing = Standing(healths, charges, overrides, kept.pinged, kept.changed)
        self._drifted = self.drifts

    def startService(self) -> None:
        Service.startService(self)
        self._first_round = self._clock.callLater(FIRST_ROUND, self._end_first_round)
        self._look = self._clock.callLater(CLOCK_CHECK, self._look_at_the_clocks)
        for name in self.plan.backends:
            self._start_prober(name)

    def stopService(self) -> None:
        Service.stopService(self)
        for name in list(self._probers):
            self._probers.pop(name).stop()
        self._settle()
        for call in (self._due, self._look):
            if call is not None and call.active():
                call.cancel()

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

        What is known of a backend is kept if it is the same one, as over a restart if it is asked in another way now;
        others are probed at once.
        """
        before, self.plan = self.plan, plan
        alike = {name for name in plan.backends if before.backends.get(name) == plan.backends[name]}
        going_on = alike if before.settings == plan.settings else set()  # else all go by the new times at once
        for name in set(self._probers) - going_on:
            self._probers.pop(name).stop()
        healths = {name: self._known_of(name, before, name in alike) for name in plan.backends}
        self._unanswered = set() if self.settled else (self._unanswered & set(healths)) | (set(healths) - alike)
        self.quotas = {name: seen for name, seen in self.quotas.items() if name in alike}
        self._stand(healths)
        for name in plan.backends:
            if self.running and name not in going_on:
                self._start_prober(name)

    def _known_of(self, name: str, before: Plan, alike: bool) -> Health:
        """What is known of a backend after a reload."""
        was, watched = before.backends.get(name), self.plan.backends[name]
        if was is None or was.identity != watched.identity:
            return Health(State.UNKNOWN, self._clock.seconds())
        known = self.standing.healths[name]
        return known if alike else health.remembered(known)

    @property
    def charge(self) -> Charge:
        """Who is in charge of redirects for the repositories that no route of the settings names."""
        return self.standing.charges[self.plan.routes[-1], Purpose.REDIRECT]

    @property
    def drifts(self) -> dict[str, str]:
        """How the canary drifts, by backend."""
        return health.drifts(self.standing.healths, self.plan.canaries)

    @property
    def handover_until(self) -> float | None:
        """When the handover ends that is under way."""
        changed = self.standing.changed
        until = None if changed is None else changed + self.plan.handover
        return until if until is not None and self._clock.seconds() < until else None

    def situation(self) -> Situation:
        """What answers depend on: who is in charge of each route, a handover, and who is drained."""
        return Situation(
            self._in_charge(Purpose.REDIRECT, self.standing.charges),
            self._in_charge(Purpose.SERVE, self.standing.charges),
            self.handover_until is not None,
            frozenset(self.standing.overrides.drains),
        )

    def explain(self, place: Place | None = None) -> str:
        """Who is in charge and why, in one sentence; without a `place`, of redirects on the last route."""
        place = place or (self.plan.routes[-1], Purpose.REDIRECT)
        order = self.plan.orders(self.standing.overrides)[place]
        return order.explain(self.standing.healths, self.standing.charges[place], self._clock.seconds())

    def probe_soon(self, name: str) -> None:
        """A request has failed at this backend, or a client's pull: climb its whole ladder soon, if not too often.

        One that is down already has said when to ask again, or is asked often enough.
        """
        if name not in self._probers or self.standing.healths[name].state is State.DOWN:
            return
        if self._probers[name].hasten():
            self._deepened.add(name)

    def note_quota(self, name: str, asker: str, quota: Quota) -> None:
        """The backend has said how many pulls are left to the facade's `asker`, its address or its account."""
        self.quotas.setdefault(name, {})[asker] = quota, self._clock.seconds()

    # The operator's word. All of these raise ContradictionError, and then nothing has changed.

    def pin(self, name: str, seconds: float | None) -> None:
        """Put a backend in charge, for so many seconds or until it is unpinned."""
        self._override(self.standing.overrides.pin(name, self._from_now(seconds), self.plan.backends))

    def unpin(self) -> None:
        """Let health decide again."""
        self._override(self.standing.overrides.unpin())

    def drain(self, name: str, seconds: float | None) -> None:
        """Take a backend out, for so many seconds or until it is undrained."""
        self._override(self.standing.overrides.drain(name, self._from_now(seconds), self.plan.backends))

    def undrain(self, name: str) -> None:
        """Take a backend in again."""
        self._override(self.standing.overrides.undrain(name, self.plan.backends))

    def _from_now(self, seconds: float | None) -> Override:
        now = self._clock.seconds()
        return Override(now, None if seconds is None else now + min(seconds, LONGEST))

    def _override(self, overrides: Overrides) -> None:
        self._stand(self.standing.healths, overrides)

    # Probing

    def _start_prober(self, name: str) -> None:
        watched = self.plan.backends[name]
        prober = Prober(self._clock, lambda: watched.probe(self._climb(name)), lambda result: self._heard(name, result))
        self._probers[name] = prober
        prober.start()

    def _climb(self, name: str) -> Climb:
        how = health.climb(self.standing.healths[name], self._clock.seconds(), self.plan.settings)
        if name in self._deepened:
            self._deepened.remove(name)
            return evolve(how, deep=True)
        return how

    def _heard(self, name: str, result: Result) -> float:
        if result.quota is not None:
            self.note_quota(name, "address", result.quota)
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
        """Requests are answered from now on."""
        if not self.settled:
            self.settled = True
            self._stand(self.standing.healths)
        if self._first_round is not None and self._first_round.active():
            self._first_round.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _look_at_the_clocks(self) -> None:
        self._look = self._clock.callLater(CLOCK_CHECK, self._look_at_the_clocks)
        apart = self._clocks_apart()
        if abs(apart - self._apart) < CLOCK_STEP:
            return
        jump, self._apart = apart - self._apart, apart
        self._changed(
            f"the clock has gone {spell(abs(jump))} {'forward' if jump > 0 else 'back'}: every backend is probed"
        )
        for prober in self._probers.values():
            prober.probe_now()

    def _clocks_apart(self) -> float:
        return self._wall() - self._clock.seconds()

    # Standing

    def _observe(self, name: str, result: Result) -> None:
        before = self.standing.healths[name]
        after = health.observe(before, result, self._clock.seconds(), self.plan.settings)
        self._stand({**self.standing.healths, name: after})

    def _stand(self, healths: Mapping[str, Health], overrides: Overrides | None = None) -> None:
        """Take up a new standing, say what changed, and come back when something is due."""
        before, drifted, now = self.standing, self._drifted, self._clock.seconds()
        overrides = (before.overrides if overrides is None else overrides).left(self.plan.backends, now)
        charges = self._choose(healths, overrides, before.charges)
        pinged = self.plan.pinged(self._in_charge(Purpose.REDIRECT, charges)) if self.settled else before.pinged
        changed = now if before.pinged not in (None, pinged) else before.changed
        self.standing = Standing(healths, charges, overrides, pinged, changed)
        self._drifted = self.drifts
        self._come_back()
        news = "; ".join(self._news(before, drifted))
        if news or _proven(healths) != _proven(before.healths):
            self._changed(news)

    def _come_back(self) -> None:
        """Stand anew when a failback is due, or an override ends."""
        if self._due is not None and self._due.active():
            self._due.cancel()
        standing = self.standing
        orders = self.plan.orders(standing.overrides)
        dues = [orders[place].failback_at(standing.healths, charge) for place, charge in standing.charges.items()]
        due = min((each for each in (*dues, standing.overrides.next_end) if each is not None), default=None)
        if due is not None and self.running:
            seconds = max(due - self._clock.seconds(), 0)
            self._due = self._clock.callLater(seconds, lambda: self._stand(self.standing.healths))

    def _news(self, before: Standing, drifted: Mapping[str, str]) -> list[str]:
        now = self.standing
        news = [
            failover.describe(name, each)
            for name, each in now.healths.items()
            if name not in before.healths or before.healths[name].state is not each.state
        ]
        news += now.overrides.news(before.overrides)
        news += [f"{name} drifts: {how}" for name, how in self._drifted.items() if drifted.get(name) != how]
        news += [f"{name} drifts no more" for name in drifted if name not in self._drifted and name in now.healths]
        elsewhere = any(
            purpose is Purpose.REDIRECT
            and (route, purpose) in before.charges
            and before.charges[route, purpose].backend != charge.backend
            for (route, purpose), charge in now.charges.items()
        )
        if elsewhere and not news:
            return [self.explain()]
        return [*news, f"{self.charge.backend} in charge"] if news else []

    def _choose(
        self, healths: Mapping[str, Health], overrides: Overrides, charges: Mapping[Place, Charge]
    ) -> dict[Place, Charge]:
        now = self._clock.seconds()
        return {
            place: order.choose(healths, _still(place, charges, healths), now)
            for place, order in self.plan.orders(overrides).items()
        }

    def _in_charge(self, purpose: Purpose, charges: Mapping[Place, Charge]) -> tuple[str, ...]:
        """Who is in charge of each route."""
        return tuple(charges[route, purpose].backend for route in self.plan.routes)


def _proven(healths: Mapping[str, Health]) -> set[str]:
    """The backends that have had the canary once."""
    return {name for name, health in healths.items() if health.proven}


def _still(place: Place, charges: Mapping[Place, Charge], healths: Mapping[str, Health]) -> Charge | None:
    """Who has been in charge, unless that backend is gone from the settings.

    A route that is new goes on with who was in charge of another, so that no failback comes before its time.
    """
    route, purpose = place
    others = (charge for (_, for_), charge in reversed([*charges.items()]) if for_ is purpose)
    found = (charge for charge in (charges.get(place), *others) if charge)
    return next((charge for charge in found if charge.backend in route and charge.backend in healths), None)
