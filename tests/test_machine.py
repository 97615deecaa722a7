"""The watch and the state file together, with results, hints, overrides, reloads, restarts and time at random."""

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
from facaded.policy.plan import Identity, Plan
from facaded.policy.watch_state import WatchState
from facaded.state import Clocks
from tests.watching import ScriptedBackends

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
    st.just("a reason"),
    st.just(0.1),
    st.sampled_from([0.0, 5.0, 40.0]),
    st.integers(1, 6),
    st.none() | st.builds(Canary, st.booleans(), st.sampled_from(["", *DIGESTS]), st.sampled_from(["", "drifts"])),
    deep=st.booleans(),
)


class WatchMachine(RuleBasedStateMachine):
    """A watch over three backends on two routes, which is sometimes restarted from its state file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.wall = 1_800_000_000.0
        self.routes: tuple[tuple[str, ...], ...] = ROUTES
        self.handover = HANDOVERS[1]

    def teardown(self) -> None:
        self.watch.stopService()
        assert self.clock.getDelayedCalls() == [], "no timer is left"
        self.directory.cleanup()

    @initialize()
    def begin(self) -> None:
        self.start(None)

    def start(self, saved: WatchState | None) -> None:
        self.clock, self.backends = Clock(), ScriptedBackends()
        self.boot = self.wall
        self.watch = Watch(self.clock, lambda: self.now, Random(1), self.plan(), saved)
        self.pushed, self.checked, self.unchecked = self.routing, self.watch.watch_state, list[Change]()
        self.watch.subscribe(self.record)
        self.watch.startService()

    @property
    def now(self) -> float:
        return self.boot + self.clock.seconds()

    @property
    def routing(self) -> RoutingState:
        return self.watch.snapshot().routing

    def record(self, change: Change) -> None:
        self.pushed = change.routing
        self.unchecked.append(change)

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
        for purpose, previous, current in (
            (Purpose.REDIRECT, before.redirecting, after.redirecting),
            (Purpose.SERVE, before.serving, after.serving),
        ):
            for route, old, new in zip(self.routes, previous, current, strict=True):
                if route.index(new) < route.index(old) and self.works(old, purpose):
                    health = healths[new]
                    assert self.clock.seconds() >= health.since + FAILBACK, "too early a failback"

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
        overrides, redirecting = self.watch.watch_state.overrides, self.routing.redirecting
        self.watch.reconfigure(self.plan())
        assert self.watch.watch_state.overrides == overrides
        if self.watch.settled and self.routing.redirecting != redirecting and handover:
            assert self.routing.handover

    @precondition(lambda self: self.watch.settled)
    @rule(away=st.sampled_from([0.1, 20.0, 4000.0]))
    def restart(self, away: float) -> None:
        """Kill the watch after its last write, and start it again with a monotonic clock that begins at zero."""
        directory, clocks = Path(self.directory.name), Clocks(self.now, self.clock.seconds())
        watch_state = self.watch.watch_state
        state.write(directory, watch_state, KNOWN, clocks)
        assert_same(state.read(directory, KNOWN, clocks).watch_state, watch_state)
        self.watch.stopService()
        self.wall = self.now + away
        saved = state.read(directory, KNOWN, Clocks(self.wall, 0.0))
        assert saved.warning is None
        self.start(saved.watch_state)
        for name in NAMES:
            if watch_state.healths[name].state is State.DOWN:
                assert self.watch.watch_state.healths[name].state is State.DOWN

    def works(self, name: str, purpose: Purpose) -> bool:
        overrides = self.watch.watch_state.overrides
        return self.watch.watch_state.healths[name].usable(purpose) and not overrides.pins and not overrides.drains

    @invariant()
    def the_last_pushed_routing_is_the_current_one(self) -> None:
        assert self.pushed == self.routing

    @invariant()
    def the_changes_have_no_gaps(self) -> None:
        changes, self.unchecked = self.unchecked, []
        for change in changes:
            before, after, self.checked = self.checked, change.watch_state, change.watch_state
            states = {name: health.state for name, health in after.healths.items()}
            transitions = {step.backend: (step.before, step.after) for step in change.transitions}
            assert len(transitions) == len(change.transitions)
            assert transitions == {
                name: (before.healths[name].state, state)
                for name, state in states.items()
                if before.healths[name].state is not state
            }
            takeovers = {takeover.place: (takeover.before, takeover.after) for takeover in change.takeovers}
            assert takeovers == {
                place: (before.active[place].backend, active.backend)
                for place, active in after.active.items()
                if place in before.active and before.active[place].backend != active.backend
            }

    @invariant()
    def each_route_has_an_active_backend_for_each_purpose(self) -> None:
        now = self.watch.snapshot()
        routing, overrides, healths = now.routing, now.watch_state.overrides, now.watch_state.healths
        for purpose, active in ((Purpose.REDIRECT, routing.redirecting), (Purpose.SERVE, routing.serving)):
            for route, name in zip(self.routes, active, strict=True):
                assert name in route
                if overrides.pinned in route:
                    assert name == overrides.pinned
                elif name in overrides.drains:
                    assert set(route) <= set(overrides.drains), (
                        "a backend is drained and active, others are not drained"
                    )
                elif not healths[name].usable(purpose) and not healths[name].is_recovering:
                    others = [backend for backend in route if backend not in overrides.drains]
                    others = [other for other in others if not healths[name].may_recover_with(healths[other], now.at)]
                    assert not any(healths[backend].usable(purpose) and healths[backend].is_sound for backend in others)
                assert name in now.explain((route, purpose))


def assert_same(saved: WatchState | None, written: WatchState) -> None:
    """Assert that the state read back is the one written, apart from what the first probes determine again."""
    assert saved is not None
    assert (saved.last_ping_target, saved.active.keys()) == (written.last_ping_target, written.active.keys())
    assert moments([saved.ping_target_changed_at]) == moments([written.ping_target_changed_at])
    for place, active in written.active.items():
        assert saved.active[place].backend == active.backend
        assert moments([saved.active[place].since]) == moments([active.since])
    for read_back, original in (
        (saved.overrides.pins, written.overrides.pins),
        (saved.overrides.drains, written.overrides.drains),
    ):
        assert list(read_back) == list(original)
        for name, override in original.items():
            times = [read_back[name].since, read_back[name].until]
            assert moments(times) == moments([override.since, override.until])
    for name, health in written.healths.items():
        before = health if health.state is State.DOWN else evolve(health, state=State.UNKNOWN)
        after = saved.healths[name]
        assert saved_fields(after) == saved_fields(before)
        times = [after.since, after.damping.back_at, after.limit_damping.back_at, after.failed_at]
        assert moments(times) == moments(
            [before.since, before.damping.back_at, before.limit_damping.back_at, before.failed_at]
        )


def moments(times: list[float | None]) -> object:
    """Return times that compare equal after a conversion to wall time and back."""
    return [None if time is None else pytest.approx(time, abs=1e-3) for time in times]


def saved_fields(health: Health) -> tuple[object, ...]:
    """Return the fields of a health that the state file has, apart from the times."""
    failed = health.failed
    failure = (failed.verdict, failed.step, failed.reason) if failed else None
    relapses = health.damping.relapses, health.limit_damping.relapses
    return health.state, relapses, health.canary_seen, health.deepest_failed_step, failure


TestMachine = WatchMachine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
