"""Failover: examples, sentences, and a state machine that interleaves results, overrides and time at random."""

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facaded.policy.failover import ActiveBackend, Selector, summarise
from facaded.policy.health import Damping, Health, Purpose, Result, Settings, State, Step, Verdict
from facaded.policy.overrides import ContradictionError, Override, Overrides
from facaded.policy.reasons import describe
from facaded.policy.transitions import observe

ORDER = ("hub", "ghcr", "quay")
REFUSED = Result(Verdict.BAD, Step.TOKEN, "timeout", 3.0)
GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
FAILBACK = 60.0
REDIRECT = Selector(ORDER, FAILBACK)
SERVE = Selector(ORDER, FAILBACK, Purpose.SERVE)


def healths(states: str, since: float = 0) -> dict[str, Health]:
    """Return healths from letters: `"duu"` is hub down, ghcr up, quay up; `l` is limited, `?` unknown."""
    states_by_letter = {"u": State.UP, "d": State.DOWN, "l": State.LIMITED, "?": State.UNKNOWN}
    return {name: Health(states_by_letter[letter], since) for name, letter in zip(ORDER, states, strict=True)}


@pytest.mark.parametrize(
    ("states", "before", "chosen"),
    [
        ("uuu", None, "hub"),
        ("duu", None, "ghcr"),
        ("ddu", None, "quay"),
        ("ddd", None, "hub"),
        ("ddd", "quay", "quay"),
        ("luu", None, "hub"),
        ("?uu", None, "ghcr"),
        ("???", None, "hub"),
        ("???", "ghcr", "ghcr"),
        ("?u?", "quay", "ghcr"),
        ("duu", "hub", "ghcr"),
        ("uud", "quay", "hub"),
        ("udu", "ghcr", "hub"),
        ("uuu", "gone", "hub"),
    ],
)
def test_the_first_backend_that_works_is_active(states: str, before: str | None, chosen: str) -> None:
    active = ActiveBackend(before, 5) if before else None
    after = REDIRECT.choose(healths(states), active, now=100)
    assert after == ActiveBackend(chosen, 5 if chosen == before else 100)


def test_the_reason_of_an_override_is_told() -> None:
    pinned = Selector(ORDER, FAILBACK, overrides=Overrides({"ghcr": Override(0, until=7200, reason="ticket 4711")}))
    assert pinned.explain(healths("uuu"), ActiveBackend("ghcr", 0), 0) == (
        "ghcr is active: it is pinned for another 2 h (ticket 4711)"
    )
    drained = Selector(ORDER, FAILBACK, overrides=Overrides(drains={"hub": Override(0, reason="slow")}))
    assert drained.explain(healths("uuu"), ActiveBackend("ghcr", 0), 0) == "ghcr is active: hub is drained (slow)"


def test_a_limited_backend_is_active_for_redirects_but_not_for_serving() -> None:
    limited = healths("luu")
    assert REDIRECT.choose(limited, None, 0).backend == "hub"
    assert SERVE.choose(limited, None, 0).backend == "ghcr"
    assert SERVE.choose(healths("lld"), None, 0).backend == "hub"
    assert SERVE.explain(healths("lld"), ActiveBackend("hub", 0), 0).startswith(
        "hub is active: all backends are down or limited"
    )
    assert SERVE.failback_at(limited, ActiveBackend("ghcr", 0)) is None


def test_failback_waits_until_the_earlier_backend_has_been_up_long_enough() -> None:
    back = healths("uud") | {"ghcr": Health(State.UP, -1000), "hub": Health(State.UP, 40)}
    active = ActiveBackend("ghcr", 0)
    assert REDIRECT.failback_at(back, active) == 100
    assert REDIRECT.choose(back, active, 99.9) == active
    assert REDIRECT.choose(back, active, 100) == ActiveBackend("hub", 100)


def test_no_failback_is_due_without_an_earlier_backend_that_works() -> None:
    assert REDIRECT.failback_at(healths("uuu"), ActiveBackend("hub", 0)) is None
    assert REDIRECT.failback_at(healths("duu"), ActiveBackend("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("?uu"), ActiveBackend("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("udu"), ActiveBackend("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("uuu"), ActiveBackend("gone", 0)) is None


def test_one_sentence_says_which_backend_is_active_and_why() -> None:
    failed = evolve(Health(State.DOWN, 0), failed=REFUSED)

    def sentence(states: dict[str, Health], backend: str, order: tuple[str, ...] = ORDER) -> str:
        return Selector(order, FAILBACK).explain(states, ActiveBackend(backend, 0), 70)

    assert sentence(healths("uuu"), "hub") == "hub is active: it is the preferred backend and is up"
    assert sentence(healths("luu"), "hub") == "hub is active: it is the preferred backend and is limited"
    assert sentence(healths("duu") | {"hub": failed}, "ghcr") == "ghcr is active: hub is down (token server: timeout)"
    returning = sentence(healths("uuu", since=50), "ghcr")
    assert returning == "ghcr is active: hub takes over in 40 s if it stays up"
    all_down = sentence(healths("ddd"), "hub")
    assert all_down == "hub is active: all backends are down, so the last one that worked stays active"
    assert sentence(healths("uuu"), "hub", ("hub",)) == "hub is active: its route has no other backend"


def test_a_line_for_the_service_manager_names_only_what_is_not_up() -> None:
    def format_time(time: float) -> str:
        return f"02:{time:02.0f}"

    failed = Health(State.DOWN, 13, failed=REFUSED)
    down = healths("duu") | {"hub": failed}
    line = summarise(ORDER, down, ActiveBackend("ghcr", 0), Overrides(), format_time)
    assert line == "hub has been down since 02:13 (token server: timeout); ghcr is active"
    assert summarise(ORDER, healths("uuu"), ActiveBackend("hub", 0), Overrides(), format_time) == "hub is active"
    assert describe("hub", Health(State.DOWN, 0)) == "hub is down"


NOW = Override(0)
LATER = Override(0, until=7270)


@pytest.mark.parametrize(
    ("states", "before", "pins", "drains", "chosen"),
    [
        ("uuu", "hub", "quay", "", "quay"),
        ("uud", "hub", "quay", "", "quay"),
        ("uuu", "hub", "elsewhere", "", "hub"),
        ("uuu", "hub", "", "hub", "ghcr"),
        ("uuu", "hub", "", "hub ghcr", "quay"),
        ("udd", "hub", "", "hub", "ghcr"),
        ("dud", "hub", "", "ghcr", "hub"),
        ("ddd", "hub", "", "hub", "ghcr"),
        ("duu", "ghcr", "", "hub ghcr quay", "hub"),
        ("uuu", "ghcr", "", "hub ghcr quay", "hub"),
        ("uuu", "quay", "ghcr", "hub", "ghcr"),
    ],
)
def test_overrides_come_before_health(states: str, before: str, pins: str, drains: str, chosen: str) -> None:
    overrides = Overrides(dict.fromkeys(pins.split(), NOW), dict.fromkeys(drains.split(), NOW))
    selector = evolve(REDIRECT, overrides=overrides)
    active = selector.choose(healths(states), ActiveBackend(before, 5), now=1000)
    assert active.backend == chosen
    if pins == "quay":
        assert selector.failback_at(healths(states), active) is None


def test_no_failback_is_due_to_or_from_a_drained_backend() -> None:
    selector = evolve(REDIRECT, overrides=Overrides(drains={"hub": NOW}))
    assert selector.failback_at(healths("uuu"), ActiveBackend("ghcr", 0)) is None
    assert selector.failback_at(healths("uuu"), ActiveBackend("hub", 0)) is None
    assert selector.failback_at(healths("uuu", since=30), ActiveBackend("quay", 0)) == 90


def test_relapses_lengthen_the_wait_for_a_failback() -> None:
    back = healths("uuu") | {"hub": Health(State.UP, 40, damping=Damping(relapses=2))}
    assert REDIRECT.failback_at(back, ActiveBackend("ghcr", 0)) == 40 + 4 * FAILBACK


def test_the_sentence_names_overrides() -> None:
    def sentence(states: str, backend: str, overrides: Overrides) -> str:
        return evolve(REDIRECT, overrides=overrides).explain(healths(states), ActiveBackend(backend, 0), 70)

    assert sentence("uuu", "quay", Overrides({"quay": NOW})) == "quay is active: it is pinned"
    pinned = sentence("uud", "quay", Overrides({"quay": LATER}))
    assert pinned == "quay is active: it is pinned for another 2 h, although it is down"
    assert sentence("uuu", "ghcr", Overrides(drains={"hub": LATER})) == "ghcr is active: hub is drained for another 2 h"
    assert sentence("udu", "quay", Overrides(drains={"hub": NOW})) == "quay is active: hub is drained, ghcr is down"
    all_drained = sentence("uuu", "hub", Overrides(drains=dict.fromkeys(ORDER, NOW)))
    assert all_drained == "hub is active: all backends are drained, so requests go to the first one"
    undrained_down = sentence("udd", "ghcr", Overrides(drains={"hub": NOW}))
    assert (
        undrained_down == "ghcr is active: all backends that are not drained are down, so the last one that worked "
        "stays active"
    )


def test_the_line_for_the_service_manager_names_overrides_too() -> None:
    overrides = Overrides({"ghcr": Override(5)}, {"hub": Override(4)})
    line = summarise(ORDER, healths("uuu"), ActiveBackend("ghcr", 0), overrides, lambda time: f"02:{time:02.0f}")
    assert line == "hub has been drained since 02:04; ghcr is active (pinned since 02:05)"


class Failover(RuleBasedStateMachine):
    """Three backends, with any results, overrides and waits."""

    purpose = Purpose.REDIRECT

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limits = Settings(fall=2, rise=2, failback_after=FAILBACK)
        self.healths = healths("???")
        self.overrides = Overrides()
        self.active = self.selector.choose(self.healths, None, self.now)
        self.up_since: dict[str, float] = {}

    @property
    def selector(self) -> Selector:
        return Selector(ORDER, FAILBACK, self.purpose, self.overrides)

    def settle(self, by_operator: bool = False) -> None:
        before, selector = self.active, self.selector
        usable_before = self.healths[before.backend].usable(self.purpose) and before.backend in selector.candidates
        self.overrides = self.overrides.in_force(ORDER, self.now)
        self.active = self.selector.choose(self.healths, before, self.now)
        if self.healths_decide and before.backend in self.selector.candidates and self.active != before:
            assert self.healths[self.active.backend].usable(self.purpose), "nothing moves to a backend that is down"
        if self.active != before:
            assert self.active.since == self.now
        moved_earlier = ORDER.index(self.active.backend) < ORDER.index(before.backend)
        overridden = by_operator or self.overrides != selector.overrides or not self.healths_decide
        if moved_earlier and usable_before and not overridden:
            wait = self.healths[self.active.backend].failback_after(FAILBACK, self.purpose)
            assert self.now >= self.up_since[self.active.backend] + wait, "failback before its time"

    @property
    def healths_decide(self) -> bool:
        return not self.overrides.pins and set(self.overrides.drains) != set(ORDER)

    @rule(name=st.sampled_from(ORDER), result=st.sampled_from([GOOD, REFUSED, evolve(GOOD, verdict=Verdict.LIMITED)]))
    def observe_result(self, name: str, result: Result) -> None:
        before = self.healths[name].usable(self.purpose) and self.healths[name].state is not State.UNKNOWN
        self.healths = {**self.healths, name: observe(self.healths[name], result, self.now, self.limits)}
        if self.healths[name].usable(self.purpose) and not before:
            self.up_since[name] = self.now
        self.settle()

    @rule(seconds=st.floats(0.1, 200))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    @rule(name=st.sampled_from(ORDER), command=st.sampled_from(["pin", "drain"]), seconds=st.none() | st.floats(1, 500))
    def override(self, name: str, command: str, seconds: float | None) -> None:
        before, override = self.overrides, Override(self.now, None if seconds is None else self.now + seconds)
        change = before.pin if command == "pin" else before.drain
        try:
            self.overrides = change(name, override, ORDER)
        except ContradictionError:
            assert name in (before.drains if command == "pin" else before.pins)
        self.settle(by_operator=True)

    @precondition(lambda self: self.overrides.pins)
    @rule()
    def unpin(self) -> None:
        before = self.active
        self.overrides = self.overrides.unpin()
        self.settle()
        if self.active != before and self.healths[before.backend].usable(self.purpose):
            wait = self.healths[self.active.backend].failback_after(FAILBACK)
            assert self.now >= self.up_since[self.active.backend] + wait, "failback before its time"

    @precondition(lambda self: self.overrides.drains)
    @rule(data=st.data())
    def undrain(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.overrides.drains)))
        self.overrides = self.overrides.undrain(name, ORDER)
        self.settle(by_operator=len(self.overrides.drains) == len(ORDER) - 1)

    @precondition(lambda self: self.selector.failback_at(self.healths, self.active) is not None)
    @rule()
    def wait_for_the_failback(self) -> None:
        due = self.selector.failback_at(self.healths, self.active)
        assert due is not None
        position, before = ORDER.index(self.active.backend), self.overrides
        self.now = max(self.now, due)
        self.settle()
        assert ORDER.index(self.active.backend) < position or self.overrides != before

    @invariant()
    def a_pin_is_honoured(self) -> None:
        if self.overrides.pinned:
            assert self.active.backend == self.overrides.pinned

    @invariant()
    def a_drained_backend_is_active_only_if_all_are_drained(self) -> None:
        if self.active.backend in self.overrides.drains:
            assert set(self.overrides.drains) == set(ORDER)
            assert self.active.backend == ORDER[0]

    @invariant()
    def the_active_backend_works_if_any_does(self) -> None:
        if not self.healths_decide:
            return
        candidates = [name for name in ORDER if name not in self.overrides.drains]
        active = self.healths[self.active.backend]
        known = [name for name in candidates if self.healths[name].state is not State.UNKNOWN]
        steady = [name for name in known if not self.healths[name].is_failing]
        if any(
            self.healths[name].usable(self.purpose) and not active.may_recover_with(self.healths[name], self.now)
            for name in steady
        ):
            assert active.usable(self.purpose) or active.is_recovering

    @invariant()
    def choosing_again_changes_nothing(self) -> None:
        assert self.selector.choose(self.healths, self.active, self.now) == self.active

    @invariant()
    def there_is_always_a_reason(self) -> None:
        assert self.active.backend in self.selector.explain(self.healths, self.active, self.now)


class ServingFailover(Failover):
    """The same for serving, where `limited` counts as down."""

    purpose = Purpose.SERVE


TestFailover = Failover.TestCase
TestFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServingFailover = ServingFailover.TestCase
TestServingFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
