"""The watch and its state file together, with results, attempts, overrides, reloads, restarts and time at random.

The machine counts samples, Retry-After, overrides and waits itself, by URL; see `machine_model`.
"""

import tempfile
from collections.abc import Callable
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
from facaded.oci.clients import Client, Family
from facaded.oci.requests import ManifestRead
from facaded.policy import repositories
from facaded.policy.changes import Change
from facaded.policy.decision import BackendRules, Mode, Route, RoutingState, Rules, Serve, decide
from facaded.policy.evidence import Attempt
from facaded.policy.health import Health, Purpose, Rank, Result, State, Step, Verdict
from facaded.policy.overrides import ContradictionError
from facaded.policy.plan import Plan
from facaded.policy.watch_state import WatchState
from facaded.state import Clocks, StateStore
from tests.machine_model import MOMENT, PERFECT, RESULTS, WORKING, BackendModel, RecordingBackends, Term, Terms

NAMES = ("hub", "ghcr", "quay")
ROUTES = (("ghcr", "hub"), NAMES)
REPOSITORIES = {("ghcr", "hub"): "a/app", NAMES: "b/app"}
FAILBACK = 60.0
HANDOVERS = [0.0, 75.0, 3600.0]
ENDS = st.none() | st.sampled_from([0.55, 50.05, 500.05])
CHECKED = 1.1
"""Seconds after which the clocks have been compared again."""


class WatchMachine(RuleBasedStateMachine):
    """A watch over three backends on two routes, which is sometimes restarted from its state file.

    `urls` has the URL by name, `models` what is expected of each URL, `pins` and `drains` the overrides by URL.
    `sound_at` is since when a URL has worked without a break, by purpose. `boot` is the wall time at monotonic zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.boot = 1_800_000_000.0
        self.routes: tuple[tuple[str, ...], ...] = ROUTES
        self.handover = HANDOVERS[1]
        self.urls = {name: f"https://{name}.test" for name in NAMES}
        self.models = {url: BackendModel() for url in self.urls.values()}
        self.pins, self.drains, self.faults = Terms(), Terms(), list[str]()

    def teardown(self) -> None:
        self.watch.stopService()
        assert self.clock.getDelayedCalls() == [], "no timer is left"
        self.directory.cleanup()

    @initialize(works=st.booleans())
    def begin(self, works: bool) -> None:
        self.start()
        for name in NAMES if works else ():
            self.respond(name, PERFECT)

    def start(self) -> WatchState | None:
        """Start a watch from the state file, and return what was read."""
        self.clock, self.backends = Clock(), RecordingBackends(started=self.note_probe)
        plan, wall = self.plan(), lambda: self.now
        self.store = StateStore(self.clock, wall, Path(self.directory.name), plan.identities)
        saved = self.store.read()
        self.watch = Watch(self.clock, wall, Random(1), plan, saved)
        self.pushed, self.checked, self.unchecked = self.routing, self.watch.watch_state, list[Change]()
        self.sound_at = dict[tuple[str, Purpose], float]()
        self.note_sound(self.watch.watch_state)
        self.watch.subscribe(self.record)
        self.store.follow(self.watch)
        self.watch.startService()
        return saved

    @property
    def now(self) -> float:
        return self.boot + self.clock.seconds()

    @property
    def routing(self) -> RoutingState:
        return self.watch.snapshot().routing

    def plan(self) -> Plan:
        plan = self.backends.plan(*NAMES, urls=self.urls, failback_after=FAILBACK)
        return evolve(plan, routes=self.routes, handover=self.handover)

    def health(self, name: str) -> Health:
        return self.watch.watch_state.healths[name]

    def note_probe(self, name: str) -> None:
        if self.clock.seconds() < self.models[self.urls[name]].rest_until - MOMENT:
            self.faults.append(f"{name} is probed before its Retry-After ended")

    def record(self, change: Change) -> None:
        self.pushed = change.routing
        self.unchecked.append(change)
        self.note_sound(change.watch_state)
        for name, health in change.watch_state.healths.items():
            if health.state is State.DOWN:
                self.models[self.urls[name]].forget()
        for takeover in change.takeovers:
            self.check_wait(change, *takeover.place, takeover.before, takeover.after)

    def note_sound(self, watch_state: WatchState) -> None:
        for name, health in watch_state.healths.items():
            for purpose in Purpose:
                place = self.urls[name], purpose
                if health.state in WORKING and health.usable(purpose) and health.degraded is None:
                    self.sound_at.setdefault(place, self.clock.seconds())
                else:
                    self.sound_at.pop(place, None)

    def check_wait(self, change: Change, route: tuple[str, ...], purpose: Purpose, old: str, new: str) -> None:
        """Note a change to an earlier backend before its wait has ended, if the old one works."""
        overrides, health = change.watch_state.overrides, change.watch_state.healths[old]
        if overrides.pins or old in overrides.drains or not health.usable(purpose) or health.degraded:
            return
        if route.index(new) < route.index(old):
            relapses = change.watch_state.healths[new].damping.relapses
            wait = min(FAILBACK * 2**relapses, 1800)
            if change.when < self.sound_at[self.urls[new], purpose] + wait - MOMENT:
                self.faults.append(f"too early a failback to {new}")

    def respond(self, name: str, result: Result) -> None:
        """Answer a probe."""
        model, before = self.models[self.urls[name]], self.health(name).state
        unconfirmed = result.confirmations is not None and result.confirmations.failed < 5
        chance = result.verdict is Verdict.BAD and unconfirmed
        if result.retry_after and result.verdict is not Verdict.LOCAL and result.step is not Step.CDN and not chance:
            model.rest(result.retry_after, self.clock.seconds())
        self.backends.answer(name, result)
        model.observe(result, before, self.health(name), self.clock.seconds())

    @rule(name=st.sampled_from(NAMES), result=RESULTS)
    def answer(self, name: str, result: Result) -> None:
        if name in self.backends.waiting:
            self.respond(name, result)

    @rule(name=st.sampled_from(NAMES), brown_out=st.booleans(), rounds=st.sampled_from([0, 8, 70]))
    def fail(self, name: str, brown_out: bool, rounds: int) -> None:
        """Let a backend fail or have a brown-out, and then recover for some rounds of probes."""
        self.recover(3)
        if brown_out:
            self.attempt(name, Step.BODY, False, "a/app", 8, "192.0.2.{}", 0.0)
        for _ in range(0 if brown_out else 12):
            if name in self.backends.waiting and self.health(name).state is not State.DOWN:
                self.respond(name, Result(Verdict.BAD, Step.PING, "connection refused", 0.1))
            self.clock.advance(1)
        self.recover(rounds)

    def recover(self, rounds: int) -> None:
        """Let all probes pass."""
        for _ in range(rounds):
            for name in [*self.backends.waiting]:
                self.respond(name, PERFECT)
            self.clock.advance(9)
            if not self.backends.waiting:
                self.clock.advance(1)

    @rule(
        name=st.sampled_from(NAMES),
        step=st.sampled_from([Step.MANIFEST, Step.BODY, Step.BLOB]),
        good=st.booleans(),
        repository=st.sampled_from(["a/app", "b/app"]),
        clients=st.sampled_from([1, 4, 8]),
        address=st.sampled_from(["192.0.2.{}", "192.0.2.1", "2001:db8::{:x}"]),
        retry_after=st.sampled_from([0.0, 0.0, 0.0, 5.0, 40.0, 4000.0]),
    )
    def attempt(
        self, name: str, step: Step, good: bool, repository: str, clients: int, address: str, retry_after: float
    ) -> None:
        """Report requests of some clients. One client sends all of them if `address` is that of one network."""
        if retry_after:
            self.recover(1)
        states = {other: self.health(other).state for other in NAMES}
        model = self.models[self.urls[name]]
        for number in range(clients):
            rest = 0.0 if good else retry_after
            source = address.format(number)
            attempt = Attempt(name, step, good, repository, source, "a reason", rest, sample=not rest)
            if rest:
                model.rest(rest, self.clock.seconds())
            self.watch.report(attempt)
            counted = evolve(attempt, source="one network" if ":" in source else source)
            model.report(counted, self.health(name), self.clock.seconds())
        assert {other: self.health(other).state for other in NAMES} == states, "a served request changes no state"
        if retry_after and not good:
            for _ in range(12):
                self.clock.advance(1)

    @rule(name=st.sampled_from((*NAMES, "nowhere")))
    def hint(self, name: str) -> None:
        before = self.watch.watch_state
        self.watch.probe_soon(name)
        assert self.watch.watch_state == before, "only probes change a state"

    @rule(seconds=st.sampled_from([0.1, 0.9, 2.0, 9.0, 40.0, 100.0]))
    def wait(self, seconds: float) -> None:
        pause = 0.1 if seconds < 10 else 0.5
        for _ in range(int(seconds / pause)):
            self.clock.advance(pause)
            assert self.pushed == self.routing

    @rule(seconds=st.sampled_from([45.0, 4000.0, -45.0]))
    def suspend(self, seconds: float) -> None:
        """Let the wall clock jump. Overrides end by wall time, but a jump back does not lengthen them."""
        self.boot += seconds
        for term in (*self.pins.values(), *self.drains.values()):
            term.shift(min(seconds, 0))
        self.clock.advance(CHECKED)

    @rule(name=st.sampled_from((*NAMES, "nowhere")), seconds=ENDS)
    def pin(self, name: str, seconds: float | None) -> None:
        url = self.urls.get(name)
        if url is None or url in self.drains:
            self.contradict(lambda: self.watch.pin(name, seconds))
        else:
            self.watch.pin(name, seconds)
            self.pins = {url: Term(self.now, None if seconds is None else self.now + seconds)}

    @rule(name=st.sampled_from((*NAMES, "nowhere")), seconds=ENDS)
    def drain(self, name: str, seconds: float | None) -> None:
        url = self.urls.get(name)
        if url is None or url in self.pins:
            self.contradict(lambda: self.watch.drain(name, seconds))
        else:
            self.watch.drain(name, seconds)
            self.drains[url] = Term(self.now, None if seconds is None else self.now + seconds)

    def contradict(self, command: Callable[[], None]) -> None:
        before = self.watch.watch_state
        with pytest.raises(ContradictionError):
            command()
        assert self.watch.watch_state == before

    @rule(name=st.none() | st.sampled_from(NAMES))
    def lift(self, name: str | None) -> None:
        """Undrain a backend, or remove the pin."""
        if name is None:
            self.watch.unpin()
            self.pins = Terms()
        else:
            self.watch.undrain(name)
            self.drains.pop(self.urls[name], None)

    @rule(handover=st.sampled_from(HANDOVERS))
    def reload(self, handover: float) -> None:
        self.routes = self.routes[::-1] if self.routes == ROUTES else ROUTES
        self.handover = handover
        overrides, redirecting = self.watch.watch_state.overrides, self.routing.redirecting
        self.reconfigure()
        assert self.watch.watch_state.overrides == overrides
        if self.watch.settled and self.routing.redirecting != redirecting and handover:
            assert self.routing.handover

    def reconfigure(self) -> None:
        plan = self.plan()
        self.store.reconfigure(Path(self.directory.name), plan.identities)
        self.watch.reconfigure(plan)

    @precondition(lambda self: self.watch.settled)
    @rule(names=st.permutations(NAMES), drained=st.booleans())
    def swap(self, names: list[str], drained: bool) -> None:
        """Give two backends the names of each other. Their health and their overrides follow them."""
        one, other, _ = names
        if drained:
            self.drain(one, None)
        healths = {url: self.health(name) for name, url in self.urls.items()}
        self.urls[one], self.urls[other] = self.urls[other], self.urls[one]
        self.reconfigure()
        assert {url: self.health(name) for name, url in self.urls.items()} == healths
        self.checked, self.unchecked = self.watch.watch_state, []

    @precondition(lambda self: self.watch.settled)
    @rule(away=st.sampled_from([0.1, 20.0, 4000.0, -100.0]))
    def restart(self, away: float) -> None:
        """Restart the watch with a monotonic clock that begins at zero, and a wall clock that may have gone back."""
        self.check_file()
        before, shift = self.watch.watch_state, self.clock.seconds() + away
        self.watch.stopService()
        self.store.stopService()
        self.boot = self.now + away
        for term in (*self.pins.values(), *self.drains.values()):
            term.restart(self.boot)
        for model in self.models.values():
            model.restart(shift)
        assert_same(self.start(), before, shift)
        for name, health in before.healths.items():
            assert (self.health(name).state is State.DOWN) == (health.state is State.DOWN)

    def check_file(self) -> None:
        """Assert that the state file has what must survive a crash."""
        clocks = Clocks(self.now, self.clock.seconds())
        saved = state.read(Path(self.directory.name), self.plan().identities, clocks).watch_state
        assert saved is not None
        written = self.watch.watch_state
        assert (saved.overrides.pins.keys(), saved.overrides.drains.keys()) == (
            written.overrides.pins.keys(),
            written.overrides.drains.keys(),
        )
        for name, health in written.healths.items():
            assert (saved.healths[name].state is State.DOWN) == (health.state is State.DOWN)
            assert (saved.healths[name].degraded is None) == (health.degraded is None)

    @invariant()
    def no_probe_and_no_failback_is_too_early(self) -> None:
        assert self.faults == []

    @invariant()
    def evidence_counts_for_its_backend_alone(self) -> None:
        now, routing = self.clock.seconds(), self.routing
        for name, url in self.urls.items():
            model, health = self.models[url], self.health(name)
            model.check(health, now)
            assert model.is_resting(now) in (None, name in routing.resting)
            rank = Rank.DEGRADED if model.degraded and health.state is State.UP else Rank[health.state.name]
            assert routing.ranks.get(name, Rank.UP) is rank

    @invariant()
    def pins_and_drains_are_those_of_the_url_until_their_end(self) -> None:
        overrides, mono = self.watch.watch_state.overrides, self.clock.seconds()
        for terms, actual in ((self.pins, overrides.pins), (self.drains, overrides.drains)):
            for url in [url for url, term in terms.items() if term.end is not None and term.end <= self.now]:
                del terms[url]
            ends = {self.urls[name]: override.until for name, override in actual.items()}
            assert {url: end and end - mono for url, end in ends.items()} == {
                url: term.end and pytest.approx(term.end - self.now, abs=MOMENT) for url, term in terms.items()
            }

    @invariant()
    def served_requests_try_pinned_backends_first_and_those_that_are_down_last(self) -> None:
        names, routing = [*NAMES], self.routing
        patterns = {route: (repositories.parse(repository),) for route, repository in REPOSITORIES.items()}
        rules = Rules(
            repositories=tuple(pattern for (pattern,) in patterns.values()),
            backends={name: BackendRules(self.urls[name]) for name in names},
            named_routes=tuple(Route(route, patterns[route]) for route in self.routes),
            mode=Mode.SERVE,
        )
        for route, repository in REPOSITORIES.items():
            answer = decide(ManifestRead(repository, "latest"), "", Client(Family.OTHER), rules, routing)
            assert isinstance(answer, Serve)
            drained = {name for name in route if self.urls[name] in self.drains}
            assert {*answer.backends} == ({*route} - drained or {*route})
            pinned = [name for name in route if self.urls[name] in self.pins]
            assert [*answer.backends[: len(pinned)]] == pinned
            ranks = [self.rank(name) for name in answer.backends[len(pinned) :]]
            assert ranks == sorted(ranks), "a backend is tried before one that works better"
            assert answer.resting == routing.resting & {*answer.backends}

    def rank(self, name: str) -> int:
        degraded = self.models[self.urls[name]].degraded is not None
        ranks = {State.UP: 1 if degraded else 0, State.LIMITED: 2, State.UNKNOWN: 3, State.DOWN: 4}
        return ranks[self.health(name).state]

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
                elif (not healths[name].usable(purpose) or healths[name].degraded) and not healths[name].is_recovering:
                    others = [backend for backend in route if backend not in overrides.drains]
                    others = [other for other in others if not healths[name].may_recover_with(healths[other], now.at)]
                    assert not any(healths[backend].usable(purpose) and healths[backend].is_sound for backend in others)
                assert name in now.explain((route, purpose))


def assert_same(saved: WatchState | None, written: WatchState, shift: float) -> None:
    """Assert that the state read back is the one written, apart from what the first probes determine again.

    Its times are `shift` seconds less, and not in the future, because the monotonic clock began at zero.
    """

    def moved(*times: float | None) -> object:
        return [None if time is None else pytest.approx(min(time - shift, 0.0), abs=MOMENT) for time in times]

    assert saved is not None
    assert (saved.last_ping_target, saved.active.keys()) == (written.last_ping_target, written.active.keys())
    assert [saved.ping_target_changed_at] == moved(written.ping_target_changed_at)
    for place, active in written.active.items():
        assert saved.active[place].backend == active.backend
        assert [saved.active[place].since] == moved(active.since)
    for name, health in written.healths.items():
        after = saved.healths[name]
        assert saved_fields(after) == saved_fields(
            health if health.state is State.DOWN else evolve(health, state=State.UNKNOWN)
        )
        assert saved_times(after) == moved(*saved_times(health))
        if health.retry_at is not None:
            assert after.retry_at == pytest.approx(min(health.retry_at - shift, 600.0), abs=MOMENT)


def saved_times(health: Health) -> list[float | None]:
    """Return the times of a health that the state file has, but for the end of a Retry-After."""
    degraded_since = health.degraded.since if health.degraded else None
    dampings = health.damping.back_at, health.limit_damping.back_at
    return [health.since, *dampings, health.failed_at, health.body_at, degraded_since]


def saved_fields(health: Health) -> tuple[object, ...]:
    """Return the fields of a health that the state file has, apart from the times."""
    failed, degraded = health.failed, health.degraded
    failure = (failed.verdict, failed.step, failed.reason) if failed else None
    brown_out = (degraded.step, degraded.count) if degraded else None
    relapses = health.damping.relapses, health.limit_damping.relapses
    return health.state, relapses, health.canary_seen, health.deepest_failed_step, failure, brown_out


TestMachine = WatchMachine.TestCase
TestMachine.settings = settings(max_examples=30, stateful_step_count=25, deadline=None, derandomize=True)
