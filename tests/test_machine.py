"""The whole machine, watch and state together: any interleaving of results, hints, pins, drains, reloads, restarts and
time.
"""

import tempfile
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from facaded import state
from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.decision import RoutingState
from facaded.policy.health import Canary, Health, Purpose, Result, State, Step, Verdict
from facaded.policy.overrides import ContradictionError
from facaded.policy.plan import Plan
from facaded.policy.watch_state import WatchState
from facaded.state import Clocks, Identity
from tests.watching import Scripted

NAMES = ("hub", "ghcr", "quay")
ROUTES = (("ghcr", "hub"), NAMES)
KNOWN = {name: Identity(f"https://{name}.test", "org/app:latest") for name in NAMES}
FAILBACK = 60.0
HANDOVERS = [0.0, 75.0, 3600.0]
DIGESTS = [f"sha256:{letter * 64}" for letter in "ab"]

RESULTS = st.builds(
    Result,
    st.sampled_from(Verdict),
    st.sampled_from(Step),
    st.just("said"),
    st.just(0.1),
    st.sampled_from([0.0, 5.0, 40.0]),
    st.integers(1, 6),
    st.none() | st.builds(Canary, st.booleans(), st.sampled_from(["", *DIGESTS]), st.sampled_from(["", "drifts"])),
    deep=st.booleans(),
)


class Machine(RuleBasedStateMachine):
    """A watch over three backends on two routes, which is sometimes started anew from its state file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.wall = 1_800_000_000.0
        self.routes: tuple[tuple[str, ...], ...] = ROUTES
        self.handover = HANDOVERS[1]

    def teardown(self) -> None:
        self.watch.stopService()
        assert self.clock.getDelayedCalls() == [], "nothing is left behind"
        self.directory.cleanup()

    @initialize()
    def begin(self) -> None:
        self.start(None)

    def start(self, kept: WatchState | None) -> None:
        self.clock, self.backends = Clock(), Scripted()
        self.boot = self.wall
        self.watch = Watch(self.clock, lambda: self.now, Random(1), self.plan(), kept)
        self.pushed, self.known, self.unread = self.routing, self.watch.watch_state, list[Change]()
        self.watch.subscribe(self.hear)
        self.watch.startService()

    @property
    def now(self) -> float:
        return self.boot + self.clock.seconds()

    @property
    def routing(self) -> RoutingState:
        return self.watch.snapshot().routing

    def hear(self, change: Change) -> None:
        self.pushed = change.routing
        self.unread.append(change)

    def plan(self) -> Plan:
        plan = self.backends.plan(*NAMES, failback_after=FAILBACK)
        return evolve(plan, routes=self.routes, handover=self.handover)

    @rule(name=st.sampled_from(NAMES), result=RESULTS)
    def answer(self, name: str, result: Result) -> None:
        if name not in self.backends.waiting:
            return
        before, healths = self.routing, dict(self.watch.watch_state.healths)
        self.backends.answer(name, result)
        after = self.routing
        for purpose, was, now in (
            (Purpose.REDIRECT, before.redirecting, after.redirecting),
            (Purpose.SERVE, before.serving, after.serving),
        ):
            for route, old, new in zip(self.routes, was, now, strict=True):
                if route.index(new) < route.index(old) and self.works(old, purpose):
                    health = healths[new]
                    assert self.clock.seconds() >= health.since + FAILBACK, "failback before its time"

    @rule(name=st.sampled_from((*NAMES, "nowhere")))
    def hint(self, name: str) -> None:
        before = self.watch.watch_state
        self.watch.probe_soon(name)
        assert self.watch.watch_state == before, "only probes change a state"

    @rule(seconds=st.sampled_from([0.1, 0.9, 2.0, 9.0, 40.0, 100.0]))
    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            self.clock.advance(0.1)
            assert self.pushed == self.routing

    @rule(
        name=st.sampled_from((*NAMES, "nowhere")),
        command=st.sampled_from(["pin", "drain", "undrain", "unpin"]),
        seconds=st.none() | st.floats(0.1, 300),
    )
    def override(self, name: str, command: str, seconds: float | None) -> None:
        before = self.watch.watch_state
        try:
            match command:
                case "pin":
                    self.watch.pin(name, seconds)
                case "drain":
                    self.watch.drain(name, seconds)
                case "undrain":
                    self.watch.undrain(name)
                case _:
                    self.watch.unpin()
        except ContradictionError:
            assert self.watch.watch_state == before

    @rule(handover=st.sampled_from(HANDOVERS))
    def reload(self, handover: float) -> None:
        self.routes = self.routes[::-1] if self.routes == ROUTES else ROUTES
        self.handover = handover
        overrides, leads = self.watch.watch_state.overrides, self.routing.redirecting
        self.watch.reconfigure(self.plan())
        assert self.watch.watch_state.overrides == overrides
        if self.watch.settled and self.routing.redirecting != leads and handover:
            assert self.routing.handover

    @precondition(lambda self: self.watch.settled)
    @rule(away=st.sampled_from([0.1, 20.0, 4000.0]))
    def restart(self, away: float) -> None:
        """Killed after its last write, and started again by a machine whose monotonic clock begins anew."""
        directory, clocks = Path(self.directory.name), Clocks(self.now, self.clock.seconds())
        watch_state = self.watch.watch_state
        state.write(directory, watch_state, KNOWN, clocks)
        assert_same(state.read(directory, KNOWN, clocks).watch_state, watch_state)
        self.watch.stopService()
        self.wall = self.now + away
        kept = state.read(directory, KNOWN, Clocks(self.wall, 0.0))
        assert kept.warning is None
        self.start(kept.watch_state)
        for name in NAMES:
            if watch_state.healths[name].state is State.DOWN:
                assert self.watch.watch_state.healths[name].state is State.DOWN

    def works(self, name: str, purpose: Purpose) -> bool:
        overrides = self.watch.watch_state.overrides
        return self.watch.watch_state.healths[name].usable(purpose) and not overrides.pins and not overrides.drains

    @invariant()
    def what_was_pushed_is_what_is_so(self) -> None:
        assert self.pushed == self.routing

    @invariant()
    def each_change_leads_from_the_one_before_to_the_next(self) -> None:
        changes, self.unread = self.unread, []
        for change in changes:
            before, after, self.known = self.known, change.watch_state, change.watch_state
            states = {name: each.state for name, each in after.healths.items()}
            moved = {
                each.backend: (each.before, each.after) for each in change.transitions if each.before is not each.after
            }
            assert len(moved) == len(change.transitions)
            assert moved == {
                name: (before.healths[name].state, state)
                for name, state in states.items()
                if before.healths[name].state is not state
            }
            taken = {each.place: (each.before, each.after) for each in change.takeovers}
            assert taken == {
                place: (before.active[place].backend, active.backend)
                for place, active in after.active.items()
                if place in before.active and before.active[place].backend != active.backend
            }

    @invariant()
    def one_is_in_charge_of_each_route_and_answer(self) -> None:
        now = self.watch.snapshot()
        routing, overrides = now.routing, now.watch_state.overrides
        for purpose, active in ((Purpose.REDIRECT, routing.redirecting), (Purpose.SERVE, routing.serving)):
            for route, name in zip(self.routes, active, strict=True):
                assert name in route
                if overrides.pinned in route:
                    assert name == overrides.pinned
                elif name in overrides.drains:
                    assert set(route) <= set(overrides.drains), "drained, and others are not"
                elif not self.watch.watch_state.healths[name].usable(purpose):
                    others = [each for each in route if each not in overrides.drains]
                    assert not any(self.watch.watch_state.healths[each].usable(purpose) for each in others)
                assert name in now.explain((route, purpose))


def assert_same(kept: WatchState | None, written: WatchState) -> None:
    """What is read back is what was written, but for what the first probes tell anew."""
    assert kept is not None
    assert (kept.last_ping_target, kept.active.keys()) == (written.last_ping_target, written.active.keys())
    assert moments([kept.ping_target_changed_at]) == moments([written.ping_target_changed_at])
    for place, active in written.active.items():
        assert kept.active[place].backend == active.backend
        assert moments([kept.active[place].since]) == moments([active.since])
    for mine, theirs in (
        (kept.overrides.pins, written.overrides.pins),
        (kept.overrides.drains, written.overrides.drains),
    ):
        assert list(mine) == list(theirs)
        for name, override in theirs.items():
            assert moments([mine[name].since, mine[name].until]) == moments([override.since, override.until])
    for name, health in written.healths.items():
        before = health if health.state is State.DOWN else evolve(health, state=State.UNKNOWN)
        assert told(kept.healths[name]) == told(before)
        times = [[each.since, each.back_at, each.failed_at] for each in (kept.healths[name], before)]
        assert moments(times[0]) == moments(times[1])


def moments(times: list[float | None]) -> object:
    """Times that may have gone by another clock and back."""
    return [None if each is None else pytest.approx(each, abs=1e-3) for each in times]


def told(health: Health) -> tuple[object, ...]:
    failed = health.failed
    said = (failed.verdict, failed.step, failed.reason) if failed else None
    return health.state, health.relapses, health.canary_seen, health.deepest_failed_step, said


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
