"""What a worker knows of the backends: the same as the first process, as soon as a message has arrived."""

import json
from collections.abc import Iterator

import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from facaded.backends.demand_checks import Proven
from facaded.config.loading import SettingsText
from facaded.policy.evidence import Attempt
from facaded.policy.health import Step
from facaded.policy.plan import Plan
from facaded.policy.proofs import Need, Proofs
from facaded.policy.snapshot import RoutingView
from facaded.workers.codec import MalformedError
from facaded.workers.counted_work import CountedWork
from facaded.workers.followed_watch import FollowedWatch
from facaded.workers.process_channel import Message
from facaded.workers.sharing import Sharing
from tests.watching import BAD, GOOD, Watching

TRUST = 2.0
SETTINGS = SettingsText("facaded.toml", "workers = 2")


@define(eq=False)
class Pair:
    """A first process and a worker, which exchange messages as JSON unless `is_cut`."""

    watching: Watching = field(factory=lambda: Watching.begin("main", "second", trust=TRUST))
    is_cut: bool = False
    sent: list[str] = field(factory=list)
    views: list[RoutingView] = field(factory=list)
    sharing: Sharing = field(init=False)
    worker: FollowedWatch = field(init=False)

    def __attrs_post_init__(self) -> None:
        clock, watch = self.watching.clock, self.watching.watch
        self.sharing = Sharing(clock, watch, self.tell_worker, SETTINGS)
        self.worker = FollowedWatch(clock, self.plan(), self.tell_first, CountedWork(clock))
        self.worker.subscribe(lambda change: self.views.append(change.view))
        self.sharing.greet(self.tell_worker)

    def plan(self) -> Plan:
        plan = self.watching.watch.snapshot().plan
        backends = {name: evolve(watched, proofs=Proofs()) for name, watched in plan.backends.items()}
        return evolve(plan, backends=backends)

    def tell_worker(self, kind: str, message: Message) -> None:
        message = json.loads(json.dumps(message))
        self.sent.append(kind)
        if self.is_cut:
            return
        match kind:
            case "settings" | "view":
                self.worker.take_view(message)
            case "proofs":
                self.worker.take_proofs(message)
            case "checked":
                self.worker.take_checked(message)

    def tell_first(self, kind: str, message: Message) -> bool:
        if not self.is_cut:
            self.sharing.receive(1, kind, json.loads(json.dumps(message)), self.tell_worker)
        return not self.is_cut

    def assert_same_view(self) -> None:
        first, own = self.watching.watch.snapshot().view, self.worker.snapshot().view
        assert own.routing == first.routing
        assert {name: health.state for name, health in own.healths.items()} == {
            name: health.state for name, health in first.healths.items()
        }

    def end(self) -> None:
        """End the checks in progress."""
        self.worker.checks.replace({})
        self.watching.watch.stopService()

    def settle(self) -> None:
        for name in ("main", "second"):
            self.watching.backends.answer(name, GOOD)


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.end()


def test_requests_wait_until_the_first_process_has_probed(pair: Pair) -> None:
    settled: list[None] = []
    pair.worker.when_settled().addCallback(settled.append)
    cancelled = pair.worker.when_settled()
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    assert not pair.worker.snapshot().settled
    pair.settle()
    assert settled == [None]
    pair.worker.when_settled().addCallback(settled.append)
    assert settled == [None, None]
    pair.assert_same_view()


def test_every_change_is_known_at_once(pair: Pair) -> None:
    pair.settle()
    pair.watching.watch.pin("second", 60)
    pair.assert_same_view()
    assert pair.views[-1].routing.pinned == "second"
    pair.watching.watch.unpin()
    pair.watching.watch.drain("main", None)
    pair.assert_same_view()
    assert pair.views[-1].routing.drained == {"main"}


@given(st.lists(st.tuples(st.sampled_from(["main", "second"]), st.booleans()), max_size=12))
def test_the_worker_follows_whatever_probes_find(results: list[tuple[str, bool]]) -> None:
    pair = Pair()
    pair.settle()
    for name, is_good in results:
        for _ in range(30):
            if name in pair.watching.backends.waiting:
                pair.watching.backends.answer(name, GOOD if is_good else BAD)
                break
            pair.watching.clock.advance(1)
        pair.assert_same_view()
    pair.end()


def test_what_a_request_finds_is_evidence_in_the_first_process(pair: Pair) -> None:
    pair.settle()
    url = pair.watching.watch.snapshot().plan.backends["main"].identity.url
    limited = Attempt("main", Step.MANIFEST, good=False, reason="answered 429", retry_after=30.0)
    pair.worker.report(limited, url)
    pair.assert_same_view()
    assert "main" in pair.views[-1].routing.resting
    pair.worker.report(Attempt("second", Step.MANIFEST, good=False, retry_after=30.0), "https://another.example")
    assert pair.views[-1].routing.resting == {"main"}


def test_a_check_that_a_worker_needs_is_made_by_the_first_process(pair: Pair) -> None:
    pair.settle()
    clock, checks = pair.watching.clock, pair.worker.checks
    assert checks.judge("main", Need.PULL) is Proven.UNDECIDED
    assert list(pair.watching.backends.checking) == ["main"]
    waiting = checks.when_decided("main", Need.PULL)
    pair.watching.backends.end_check("main", clock.seconds())
    clock.advance(0)
    assert waiting.called
    assert checks.judge("main", Need.PULL) is Proven.YES
    clock.advance(TRUST * 0.75)
    assert checks.judge("main", Need.PULL) is Proven.YES, "it is ageing, so a check begins"
    assert list(pair.watching.backends.checking) == ["main"]


def test_a_request_goes_on_as_soon_as_its_need_is_proven_although_the_check_does(pair: Pair) -> None:
    pair.settle()
    clock = pair.watching.clock
    assert pair.worker.checks.judge("main", Need.PULL) is Proven.UNDECIDED
    waiting = pair.worker.checks.when_decided("main", Need.PULL)
    clock.advance(0.1)
    pair.watching.backends.proofs["main"].note_pass(clock.seconds(), *Need.PULL.steps)
    clock.advance(0)
    assert waiting.called
    assert pair.worker.checks.judge("main", Need.PULL) is Proven.YES
    assert "main" in pair.watching.backends.checking


def test_a_failed_step_is_known_at_once_without_a_check_of_this_process(pair: Pair) -> None:
    pair.settle()
    now = pair.watching.clock.seconds()
    proofs = pair.watching.backends.proofs["main"]
    proofs.note_pass(now, *Step)
    proofs.note_failure(Step.MANIFEST)
    pair.watching.clock.advance(0)
    assert pair.worker.checks.judge("main", Need.PULL) is Proven.NO
    assert pair.worker.checks.judge("main", Need.BLOB) is Proven.YES


def test_without_a_first_process_nothing_waits_and_redirects_need_fresh_proofs(pair: Pair) -> None:
    pair.settle()
    clock, checks = pair.watching.clock, pair.worker.checks
    pair.watching.backends.proofs["main"].note_pass(clock.seconds(), *Step)
    clock.advance(0)
    pair.is_cut = True
    assert checks.judge("main", Need.PULL) is Proven.YES
    clock.advance(TRUST + 5)
    assert checks.judge("main", Need.PULL) is Proven.NO, "so it is served, and the next backend tried"
    pair.worker.probe_soon("main")
    pair.worker.report(Attempt("main", Step.MANIFEST, good=False))
    pair.is_cut = False
    clock.advance(TRUST)
    assert checks.judge("main", Need.PULL) is Proven.UNDECIDED
    waiting = checks.when_decided("main", Need.PULL)
    pair.worker.lose()
    assert waiting.called


def test_a_new_first_process_that_knows_nothing_yet_changes_nothing(pair: Pair) -> None:
    pair.settle()
    pair.watching.watch.pin("second", 60)
    before = pair.worker.snapshot().view
    successor = Watching.begin("main", "second", trust=TRUST)
    Sharing(successor.clock, successor.watch, pair.tell_worker, SETTINGS).greet(pair.tell_worker)
    assert pair.worker.snapshot().view == before
    for name in ("main", "second"):
        successor.backends.answer(name, GOOD)
    assert pair.worker.snapshot().view.routing.pinned is None
    successor.watch.stopService()


def test_state_of_new_settings_is_sent_with_them(pair: Pair) -> None:
    pair.settle()
    pair.sharing.begin_reload()
    pair.sent.clear()
    pair.watching.watch.reconfigure(pair.watching.backends.plan("second"))
    pair.watching.clock.advance(0)
    assert pair.sent == [], "the worker still has the old settings"
    pair.is_cut = True
    pair.sharing.end_reload(SETTINGS)
    assert pair.sent == ["settings", "proofs"]


def test_a_worker_s_new_plan_keeps_the_proofs_of_a_backend_that_stays(pair: Pair) -> None:
    pair.settle()
    pair.watching.backends.proofs["main"].note_pass(0.0, *Step)
    pair.watching.clock.advance(0)
    plan = pair.watching.watch.snapshot().plan
    pair.worker.reconfigure(evolve(plan, backends={"main": evolve(plan.backends["main"], proofs=Proofs())}))
    assert pair.worker.checks.judge("main", Need.PULL) is Proven.YES


@pytest.mark.parametrize("view", [None, {}, [], {"routing": 5, "backends": {}, "settled": True}, "x"])
def test_a_malformed_view_changes_nothing(pair: Pair, view: object) -> None:
    pair.settle()
    before = pair.worker.snapshot()
    with pytest.raises(MalformedError):
        pair.worker.take_view({"view": view})
    assert pair.worker.snapshot() is before


@pytest.mark.parametrize(
    ("kind", "message"),
    [("attempt", {}), ("attempt", {"attempt": {"backend": "main", "step": "?"}}), ("nonsense", {}), ("view", {})],
)
def test_a_malformed_message_of_a_worker_is_refused(pair: Pair, kind: str, message: Message) -> None:
    with pytest.raises(MalformedError):
        pair.sharing.receive(1, kind, message, pair.tell_worker)


def test_a_hint_is_about_a_backend_that_may_be_gone(pair: Pair) -> None:
    pair.sharing.receive(1, "hint", {"backend": "gone"}, pair.tell_worker)
    pair.sharing.receive(1, "check", {"backend": "gone"}, pair.tell_worker)
    assert pair.sent[-1] == "checked"
