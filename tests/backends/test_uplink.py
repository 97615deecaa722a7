"""Outages that all backends seem to have at once: those of this machine's own uplink. All runs are seeded."""

from collections.abc import Callable
from random import Random

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.health import (
    CONFIRMATION_TIME,
    CONFIRMATIONS,
    Confirmations,
    ProbeDepth,
    Result,
    Settings,
    State,
    Step,
    Verdict,
)
from facaded.policy.plan import Identity, Plan, WatchedBackend

RUNS = 60
LOSS = 30.0
SETTINGS = Settings()

Interval = tuple[float, float]


@define
class LossyNetwork:
    """Two registries behind one uplink. `lost` are the intervals in which a registry cannot be reached, by its name.

    A request that begins in such an interval is never answered. `random` decides how far the registries are.
    """

    clock: Clock
    random: Random
    lost: dict[str, list[Interval]]
    settings: Settings = SETTINGS
    active: list[str] = field(factory=list)

    def watch(self) -> Watch:
        """Return a running watch of both registries. `active` becomes the names of those that were active in turn."""
        backends = {name: WatchedBackend(Identity(name), self._probe_of(name)) for name in self.lost}
        plan = Plan(backends, (tuple(self.lost),), self.settings)
        watch = Watch(self.clock, self.clock.seconds, self.random, plan, None)
        watch.subscribe(self._record)
        watch.startService()
        return watch

    def run(self, seconds: float) -> None:
        """Let time pass from one timer to the next."""
        end = self.clock.seconds() + seconds
        while (due := min(call.getTime() for call in self.clock.getDelayedCalls())) < end:
            self.clock.advance(max(due - self.clock.seconds(), 0.0))

    def _record(self, change: Change) -> None:
        self.active += [takeover.after for takeover in change.takeovers]

    def _probe_of(self, name: str) -> Callable[[ProbeDepth], Deferred[Result]]:
        latency = self.random.uniform(0.01, 0.3)

        def probe(depth: ProbeDepth) -> Deferred[Result]:
            return Deferred.fromCoroutine(self._climb(name, depth, latency * self.random.uniform(1, 2)))

        return probe

    async def _climb(self, name: str, depth: ProbeDepth, latency: float) -> Result:
        timeout, start = self.settings.timeout, self.clock.seconds()
        begun = start
        for step in (Step.PING, Step.TOKEN, Step.MANIFEST, *((Step.BLOB, Step.CDN) if depth.deep else ())):
            begun = self.clock.seconds() if step is Step.BLOB else begun
            if self._is_lost(name):
                await self._pass(max(begun + timeout - self.clock.seconds(), 0.0))
                bad = Result(Verdict.BAD, step, "timeout", self.clock.seconds() - start, deep=depth.deep)
                return evolve(bad, confirmations=await self._confirm(name) if depth.confirm else None)
            await self._pass(latency)
        return Result(Verdict.GOOD, step, "all steps passed", latency, requests=3, deep=depth.deep)

    async def _confirm(self, name: str) -> Confirmations:
        is_lost = self._is_lost(name)
        seconds = CONFIRMATION_TIME if is_lost else 0.1
        await self._pass(seconds)
        return Confirmations(CONFIRMATIONS, CONFIRMATIONS if is_lost else 0, seconds)

    def _is_lost(self, name: str) -> bool:
        return any(start <= self.clock.seconds() < end for start, end in self.lost[name])

    def _pass(self, seconds: float) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.clock.callLater(seconds, done.callback, None)
        return done


def test_a_loss_of_the_own_uplink_moves_nothing() -> None:
    for seed in range(RUNS):
        random = Random(seed)
        start = random.uniform(100, 200)
        lost = (start, start + LOSS * random.uniform(0.9, 1.1))
        network = LossyNetwork(Clock(), random, {"main": [lost], "second": [lost]})
        watch = network.watch()
        network.run(300)
        healths = watch.watch_state.healths
        assert {health.state for health in healths.values()} == {State.UP}
        assert all(health.failed is not None for health in healths.values()), "both have noticed the loss"
        assert network.active == [], seed


@pytest.mark.parametrize("blip", [5.0, 20.0, 60.0])
def test_a_main_registry_that_is_down_does_not_become_active_when_the_second_fails_too(blip: float) -> None:
    for seed in range(RUNS // 10):
        random = Random(seed)
        start = random.uniform(1900, 2000)
        lost = {"main": [(100.0, 3700.0)], "second": [(start, start + blip)]}
        network = LossyNetwork(Clock(), random, lost)
        network.watch()
        network.run(3700)
        assert network.active == ["second", "second"], "for redirects and for serving"
        network.run(300)
        assert network.active[2:] == ["main", "main"]


def test_the_second_registry_takes_over_if_it_recovers_and_the_main_one_does_not() -> None:
    for seed in range(RUNS // 10):
        random = Random(seed)
        start = random.uniform(100, 200)
        lost = {"main": [(start, 10000.0)], "second": [(start, start + LOSS)]}
        network = LossyNetwork(Clock(), random, lost)
        network.watch()
        network.run(start + LOSS)
        assert network.active == []
        interval, fast, timeout = SETTINGS.interval, SETTINGS.fast_interval, SETTINGS.timeout
        network.run(2 * timeout + interval + fast + timeout + 1.0)
        assert network.active == ["second", "second"], seed
