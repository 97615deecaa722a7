"""Checks on demand: which requests wait, for how long, and how many checks start."""

from collections.abc import Callable
from itertools import pairwise
from time import process_time

import pytest
from attrs import define, evolve, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.demand_checks import Checks, Proven
from facaded.backends.roster import Roster
from facaded.policy.health import ProbeDepth, Result, Settings, State, Step, Verdict
from facaded.policy.plan import Identity, Plan, WatchedBackend
from facaded.policy.proofs import Need, Proofs
from tests.watching import BAD, GOOD, up

TRUST = 2.0
TICK = 0.02
"""Seconds by which time advances at once."""

ALL = tuple(Step)
RESTING = evolve(BAD, verdict=Verdict.LIMITED, retry_after=60.0)
WHOLE = evolve(GOOD, step=Step.CDN, passed=ALL)


@define
class Demand:
    """One backend, `main`, whose checks the test answers. `started` are the times at which checks began."""

    clock: Clock = field(factory=Clock)
    proofs: Proofs = field(factory=Proofs)
    started: list[float] = field(factory=list)
    results: list[Result] = field(factory=list)
    pending: Deferred[Result] | None = None
    changed: Callable[[], None] | None = None
    checks: Checks = field(init=False)
    roster: Roster = field(init=False)

    def __attrs_post_init__(self) -> None:
        watched = WatchedBackend(Identity("main"), _no_probe, check=self._check, proofs=self.proofs)
        plan = Plan({"main": watched}, (("main",),), Settings(), trust=TRUST)
        self.roster = Roster(self.clock, plan, None)
        self.roster.observe("main", GOOD)
        self.checks = Checks(self.clock, self.roster, lambda _, result: self.results.append(result))
        self.checks.replace({"main": watched})

    def judge(self, need: Need = Need.PULL) -> Proven:
        return self.checks.judge("main", need)

    def wait(self, need: Need = Need.PULL) -> list[float]:
        """Begin to wait for a check; the time at which that ends is put into the list."""
        ended: list[float] = []
        self.checks.when_decided("main", need).addCallback(lambda _: ended.append(self.clock.seconds()))
        return ended

    def pass_steps(self, *steps: Step) -> None:
        """Let answers to steps of the check in progress arrive."""
        self.proofs.note_pass(self.clock.seconds(), *steps)
        if self.changed is not None:
            self.changed()

    def fail(self, step: Step) -> None:
        self.proofs.note_failure(step)
        if self.changed is not None:
            self.changed()

    def end(self, result: Result = WHOLE) -> None:
        """End the check in progress."""
        pending, self.pending, self.changed = self.pending, None, None
        assert pending is not None
        pending.callback(result)

    def _check(self, depth: ProbeDepth, changed: Callable[[], None]) -> Deferred[Result]:
        assert not depth.deep
        assert not depth.body
        assert self.pending is None
        self.started.append(self.clock.seconds())
        self.changed = changed
        self.pending = Deferred()
        return self.pending


def _no_probe(depth: ProbeDepth) -> Deferred[Result]:
    raise AssertionError


def proven() -> Demand:
    demand = Demand()
    demand.pass_steps(*ALL)
    return demand


def test_fresh_proofs_need_no_check() -> None:
    demand = proven()
    demand.clock.advance(1)
    assert demand.judge() is Proven.YES
    assert demand.started == []


def test_ageing_proofs_are_renewed_while_requests_go_on() -> None:
    demand = proven()
    demand.clock.advance(1.5)
    assert [demand.judge() for _ in range(3)] == [Proven.YES] * 3
    assert demand.started == [1.5]


def test_requests_wait_for_one_check_if_proofs_are_stale() -> None:
    demand = proven()
    demand.clock.advance(60)
    waits = []
    for _ in range(5000):
        assert demand.judge() is Proven.UNDECIDED
        waits.append(demand.wait())
    demand.clock.advance(0.3)
    demand.pass_steps(*Need.PULL.steps)
    assert demand.started == [60]
    assert waits == [[60.3]] * 5000
    assert demand.judge() is Proven.YES


def test_a_request_waits_only_for_what_it_needs() -> None:
    demand = Demand()
    assert [demand.judge(need) for need in Need] == [Proven.UNDECIDED] * 2
    pull, blob = demand.wait(Need.PULL), demand.wait(Need.BLOB)
    demand.clock.advance(0.1)
    demand.pass_steps(*Need.PULL.steps)
    assert (pull, blob) == ([0.1], [])
    demand.fail(Step.BLOB)
    assert blob == [0.1]
    assert [demand.judge(need) for need in Need] == [Proven.YES, Proven.NO]


def test_after_a_second_nobody_waits_for_a_check_any_longer() -> None:
    demand = Demand()
    assert demand.judge() is Proven.UNDECIDED
    waited = demand.wait()
    demand.clock.advance(1)
    assert waited == [1]
    assert demand.judge() is Proven.NO
    demand.clock.advance(0.5)
    demand.pass_steps(*ALL)
    demand.end()
    assert demand.judge() is Proven.YES
    assert demand.started == [0]


def test_while_a_backend_fails_nobody_waits_but_it_is_checked_each_second() -> None:
    demand = Demand()
    demand.judge()
    waited = demand.wait()
    demand.fail(Step.PING)
    demand.end(BAD)
    assert waited == [0]
    for _ in range(30):
        assert demand.judge() is Proven.NO
        if demand.pending is not None:
            demand.end(BAD)
        demand.clock.advance(0.1)
    assert 2 <= len(demand.started) <= 4
    demand.clock.advance(1)
    assert demand.judge() is Proven.NO
    demand.pass_steps(*ALL)
    demand.end()
    assert demand.judge() is Proven.YES


def test_results_reach_the_state_machine() -> None:
    demand = Demand()
    demand.judge()
    demand.end(BAD)
    assert demand.results == [BAD]


@pytest.mark.parametrize(
    ("result", "counts"),
    [
        (evolve(WHOLE, verdict=Verdict.LOCAL), False),
        (evolve(WHOLE, passed=(Step.PING, Step.TOKEN, Step.MANIFEST)), False),
        (WHOLE, True),
        (BAD, True),
    ],
)
def test_a_good_result_counts_only_if_it_passed_the_step_that_failed(result: Result, counts: bool) -> None:
    demand = Demand()
    demand.roster.observe("main", evolve(BAD, step=Step.CDN))
    demand.judge()
    demand.end(result)
    assert (demand.results == [result]) is counts


def test_the_result_for_a_backend_that_is_down_is_ignored() -> None:
    demand = Demand()
    demand.judge()
    for _ in range(2):
        demand.roster.observe("main", BAD)
    assert demand.roster.watch_state.healths["main"].state is State.DOWN
    demand.end()
    assert demand.results == []


def test_an_error_of_this_machine_proves_nothing_and_is_not_waited_for_again_at_once() -> None:
    demand = Demand()
    demand.judge()
    waited = demand.wait()
    demand.end(evolve(BAD, verdict=Verdict.LOCAL))
    assert waited == [0]
    assert demand.judge() is Proven.NO


def test_a_check_that_is_stopped_lets_requests_go() -> None:
    demand = Demand()
    demand.judge()
    waited = demand.wait()
    demand.checks.replace({})
    assert waited == [0]
    assert demand.judge() is Proven.YES  # the facade asks for the answer again, under the new settings
    assert demand.clock.getDelayedCalls() == []


def test_a_client_that_disconnects_does_not_wait_any_longer() -> None:
    demand = Demand()
    demand.judge()
    waiter = demand.checks.when_decided("main", Need.PULL)
    waiter.addErrback(lambda _: None)
    waiter.cancel()
    demand.end()
    assert demand.checks.when_decided("main", Need.PULL).called


def test_a_request_that_ends_another_one_leaves_the_rest_to_go_on() -> None:
    demand = Demand()
    demand.judge()
    waiters = [demand.checks.when_decided("main", Need.PULL) for _ in range(3)]
    waiters[1].addErrback(lambda _: None)
    waiters[0].addCallback(lambda _: waiters[1].cancel())
    demand.pass_steps(*ALL)
    assert waiters[2].called


def test_many_clients_that_disconnect_while_they_wait_cost_little() -> None:
    demand = Demand()
    demand.judge()
    waiters = [demand.checks.when_decided("main", Need.PULL) for _ in range(5000)]
    begun = process_time()
    for waiter in waiters:
        waiter.addErrback(lambda _: None)
        waiter.cancel()
    assert process_time() - begun < 1.0  # 3 s if each has to be searched for


@pytest.mark.parametrize(("before", "checked"), [((), True), ((BAD, BAD), False), ((RESTING,), False)])
def test_a_hint_starts_a_check_of_a_backend_that_may_be_asked(before: tuple[Result, ...], checked: bool) -> None:
    demand = proven()
    for result in before:
        demand.roster.observe("main", result)
    assert demand.checks.renew("main")
    assert (demand.started == [0]) is checked
    assert not demand.checks.renew("unknown")


def test_without_checks_a_hint_makes_a_probe_early() -> None:
    watching = up("main", "second")
    watching.advance(3)
    watching.watch.probe_soon("main")
    watching.advance(0.1)
    assert set(watching.backends.waiting) == {"main"}


def test_without_trust_nothing_is_checked() -> None:
    demand = Demand()
    demand.roster.plan = evolve(demand.roster.plan, trust=0.0)
    assert demand.judge() is Proven.YES
    assert demand.started == []


def test_a_bad_check_brings_the_next_probe_forward() -> None:
    watching = up("main", "second")
    watching.advance(3)
    watching.watch.probers.take_result("main", BAD)
    assert watching.backends.waiting == {}
    watching.advance(0.1)
    assert set(watching.backends.waiting) == {"second"}  # the rival is probed at once
    watching.advance(1)
    assert "main" in watching.backends.waiting
    watching.backends.answer("main", BAD)
    watching.backends.answer("second", GOOD)
    assert watching.active == "second"


def test_a_check_and_a_probe_that_fail_at_the_same_moment_are_one_failure() -> None:
    """A registry that restarts within half a second stays active, as it does without checks."""
    watching = up("main", "second")
    watching.advance(3)
    watching.watch.probe_soon("main")
    watching.advance(0.1)
    watching.watch.probers.take_result("main", BAD)
    watching.advance(0.1)
    watching.backends.answer("main", BAD)
    watching.watch.probers.take_result("main", BAD)
    assert watching.watch.snapshot().watch_state.healths["main"].bads == 1
    watching.advance(1)
    watching.backends.answer("main", BAD)
    assert watching.watch.snapshot().watch_state.healths["main"].state is State.DOWN


class DemandMachine(RuleBasedStateMachine):
    """Requests, answers to steps, ends of checks and time, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.demand = Demand()
        self.waits: list[tuple[float, list[float]]] = []
        self.passed: dict[Step, float] = {}
        self.failed: set[Step] = set()
        self.longest = 0.0

    @rule(need=st.sampled_from(Need))
    def request(self, need: Need) -> None:
        """A request goes on only with proofs of all steps, none of which failed since; else it waits, or is served."""
        demand, now = self.demand, self.demand.clock.seconds()
        proven = demand.judge(need)
        if proven is Proven.YES:
            assert self.failed.isdisjoint(need.steps)
            assert now - min(self.passed[step] for step in need.steps) <= max(TRUST, 2 * self.longest) + 1e-6
        elif proven is Proven.UNDECIDED:
            self.waits.append((now, demand.wait(need)))

    @rule(step=st.sampled_from(Step), good=st.booleans())
    def answer(self, step: Step, good: bool) -> None:
        if self.demand.pending is None:
            return
        if good:
            self.passed[step] = self.demand.clock.seconds()
            self.failed.discard(step)
            self.demand.pass_steps(step)
        else:
            self.failed.add(step)
            self.demand.fail(step)

    @rule(result=st.sampled_from([WHOLE, BAD]))
    def end(self, result: Result) -> None:
        demand = self.demand
        if demand.pending is not None:
            self.longest = max(self.longest, demand.clock.seconds() - demand.started[-1])
            demand.proofs.note_check(demand.started[-1], demand.clock.seconds())
            demand.end(result)

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.0, 2.5]))
    def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.demand.clock.advance(TICK)

    @invariant()
    def nobody_waits_for_more_than_a_second(self) -> None:
        now = self.demand.clock.seconds()
        assert all((ended or [now])[0] - begun <= 1.0 + 2 * TICK for begun, ended in self.waits)
        self.waits = [(begun, ended) for begun, ended in self.waits if not ended]

    @invariant()
    def at_most_one_check_starts_a_second(self) -> None:
        assert all(later - earlier >= 1.0 - 1e-9 for earlier, later in pairwise(self.demand.started))


TestDemandMachine = DemandMachine.TestCase
TestDemandMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
