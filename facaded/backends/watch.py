"""The watch over the backends: probes them, keeps what they said, and knows who is in charge.

This is where the pure machines of `policy` meet time and the network. Nothing else changes a backend's state.
"""

from collections.abc import Callable, Mapping
from random import Random

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.backends.probes import Prober
from facaded.policy import failover, health
from facaded.policy.failover import Charge
from facaded.policy.health import Health, Result, State, Step, Verdict

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
    """What to watch and by which rules: the backends that may be in charge, preferred first. No other is probed."""

    backends: Mapping[str, Watched]
    settings: health.Settings
    failback_after: float

    @property
    def order(self) -> tuple[str, ...]:
        """The backends' names, preferred first."""
        return tuple(self.backends)


@frozen
class Standing:
    """What is known at one moment: each backend's health, and who is in charge."""

    healths: Mapping[str, Health]
    charge: Charge


class Watch(Service):
    """Probes backends for as long as it runs.

    `clock` gives monotonic seconds, `random` the jitter. `kept` is what an earlier run knew, by
    `health.remembered`. `changed` is called after every change of a backend's state or of who is in charge, with a
    line that says what changed.
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
        self._unanswered = set(plan.order)
        self._waiting: list[Deferred[None]] = []
        self._first_round: IDelayedCall | None = None
        self._failback: IDelayedCall | None = None
        healths = {name: Health(State.UNKNOWN, clock.seconds()) for name in plan.order}
        if kept is not None:
            healths |= {name: each for name, each in kept.healths.items() if name in healths}
        self.standing = Standing(healths, self._choose(healths, kept.charge if kept else None))

    def startService(self) -> None:
        Service.startService(self)
        self._first_round = self._clock.callLater(FIRST_ROUND, self._end_first_round)
        for name in self.plan.order:
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
        before, self.plan = self.plan, plan
        same = {name for name in plan.order if before.backends.get(name) == plan.backends[name]}
        going_on = same if before.settings == plan.settings else set()  # else all go by the new times at once
        for name in set(self._probers) - going_on:
            self._probers.pop(name).stop()
        unknown = Health(State.UNKNOWN, self._clock.seconds())
        healths = {name: self.standing.healths[name] if name in same else unknown for name in plan.order}
        self._unanswered &= same
        self._stand(healths)
        for name in plan.order:
            if self.running and name not in going_on:
                self._start_prober(name)

    def explain(self) -> str:
        """Who is in charge and why, in one sentence."""
        standing, plan = self.standing, self.plan
        now = self._clock.seconds()
        return failover.explain(plan.order, standing.healths, standing.charge, now, plan.failback_after)

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
        if any(healths[name].state in (State.UP, State.LIMITED) for name in self.plan.order):
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
        before = self.standing
        self.standing = Standing(healths, self._choose(healths, before.charge))
        self._cancel_failback()
        due = failover.failback_at(self.plan.order, healths, self.standing.charge, self.plan.failback_after)
        if due is not None and self.running:
            pause = max(due - self._clock.seconds(), 0)
            self._failback = self._clock.callLater(pause, lambda: self._stand(self.standing.healths))
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
            return "; ".join([*states, f"{now.charge.backend} in charge"])
        return "" if before.charge.backend == now.charge.backend else self.explain()

    def _choose(self, healths: Mapping[str, Health], charge: Charge | None) -> Charge:
        plan = self.plan
        return failover.choose(plan.order, healths, charge, self._clock.seconds(), plan.failback_after)

    def _cancel_failback(self) -> None:
        if self._failback is not None and self._failback.active():
            self._failback.cancel()
        self._failback = None
