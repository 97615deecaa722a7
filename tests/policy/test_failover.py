"""Which backend is active: examples, sentences, and a model that tries any interleaving of results and time."""

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facaded.policy.failover import Active, Selector, describe, spell, summarise
from facaded.policy.health import Health, Purpose, Result, Settings, State, Step, Verdict, observe
from facaded.policy.overrides import ContradictionError, Override, Overrides

ORDER = ("hub", "ghcr", "quay")
REFUSED = Result(Verdict.BAD, Step.TOKEN, "time-out", 3.0)
GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
FAILBACK = 60.0
REDIRECT = Selector(ORDER, FAILBACK)
SERVE = Selector(ORDER, FAILBACK, Purpose.SERVE)


def healths(states: str, since: float = 0) -> dict[str, Health]:
    """`"duu"`: hub down, ghcr up, quay up; `l` is limited, `?` unknown."""
    known = {"u": State.UP, "d": State.DOWN, "l": State.LIMITED, "?": State.UNKNOWN}
    return {name: Health(known[letter], since) for name, letter in zip(ORDER, states, strict=True)}


@pytest.mark.parametrize(
    ("states", "before", "chosen"),
    [
        ("uuu", None, "hub"),
        ("duu", None, "ghcr"),
        ("ddu", None, "quay"),
        ("ddd", None, "hub"),
        ("ddd", "quay", "hub"),
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
def test_the_first_backend_that_works_is_in_charge(states: str, before: str | None, chosen: str) -> None:
    active = Active(before, 5) if before else None
    after = REDIRECT.choose(healths(states), active, now=100)
    assert after == Active(chosen, 5 if chosen == before else 100)


def test_a_limited_backend_is_redirected_to_but_not_asked_by_the_facade_itself() -> None:
    limited = healths("luu")
    assert REDIRECT.choose(limited, None, 0).backend == "hub"
    assert SERVE.choose(limited, None, 0).backend == "ghcr"
    assert SERVE.choose(healths("lld"), None, 0).backend == "hub"
    assert SERVE.explain(healths("lld"), Active("hub", 0), 0).startswith(
        "hub is active: every backend is down or limited"
    )
    assert SERVE.failback_at(limited, Active("ghcr", 0)) is None


def test_failback_waits_until_the_earlier_one_has_been_up_long_enough() -> None:
    back = healths("uud") | {"ghcr": Health(State.UP, -1000), "hub": Health(State.UP, 40)}
    active = Active("ghcr", 0)
    assert REDIRECT.failback_at(back, active) == 100
    assert REDIRECT.choose(back, active, 99.9) == active
    assert REDIRECT.choose(back, active, 100) == Active("hub", 100)


def test_no_failback_is_due_where_there_is_nothing_to_go_back_to() -> None:
    assert REDIRECT.failback_at(healths("uuu"), Active("hub", 0)) is None
    assert REDIRECT.failback_at(healths("duu"), Active("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("?uu"), Active("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("udu"), Active("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("uuu"), Active("gone", 0)) is None


def test_one_sentence_says_who_is_in_charge_and_why() -> None:
    failed = evolve(Health(State.DOWN, 0), failed=REFUSED)

    def sentence(states: dict[str, Health], backend: str, order: tuple[str, ...] = ORDER) -> str:
        return Selector(order, FAILBACK).explain(states, Active(backend, 0), 70)

    assert sentence(healths("uuu"), "hub") == "hub is active: it is the first and up"
    assert sentence(healths("luu"), "hub") == "hub is active: it is the first and limited"
    assert sentence(healths("duu") | {"hub": failed}, "ghcr") == "ghcr is active: hub down (token server: time-out)"
    assert (
        sentence(healths("uuu", since=50), "ghcr")
        == "ghcr is active: hub is back, and takes over in 40 s if it stays up"
    )
    assert (
        sentence(healths("ddd"), "hub") == "hub is active: every backend is down, so the first one keeps the requests"
    )
    assert sentence(healths("uuu"), "hub", ("hub",)) == "hub is active: no other backend may stand in"


def test_a_line_for_the_service_manager_names_only_what_is_not_up() -> None:
    def written(time: float) -> str:
        return f"02:{time:02.0f}"

    failed = Health(State.DOWN, 13, failed=REFUSED)
    down = healths("duu") | {"hub": failed}
    line = summarise(ORDER, down, Active("ghcr", 0), Overrides(), written)
    assert line == "hub down (token server: time-out) since 02:13; ghcr is active"
    assert summarise(ORDER, healths("uuu"), Active("hub", 0), Overrides(), written) == "hub is active"
    assert describe("hub", Health(State.DOWN, 0)) == "hub down"


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
def test_the_operator_has_the_first_word(states: str, before: str, pins: str, drains: str, chosen: str) -> None:
    said = Overrides(dict.fromkeys(pins.split(), NOW), dict.fromkeys(drains.split(), NOW))
    selector = evolve(REDIRECT, overrides=said)
    active = selector.choose(healths(states), Active(before, 5), now=1000)
    assert active.backend == chosen
    if pins == "quay":
        assert selector.failback_at(healths(states), active) is None


def test_no_failback_leads_to_a_drained_backend_or_away_from_a_drained_one() -> None:
    selector = evolve(REDIRECT, overrides=Overrides(drains={"hub": NOW}))
    assert selector.failback_at(healths("uuu"), Active("ghcr", 0)) is None
    assert selector.failback_at(healths("uuu"), Active("hub", 0)) is None
    assert selector.failback_at(healths("uuu", since=30), Active("quay", 0)) == 90


def test_relapses_lengthen_the_wait_for_a_failback() -> None:
    back = healths("uuu") | {"hub": Health(State.UP, 40, relapses=2)}
    assert REDIRECT.failback_at(back, Active("ghcr", 0)) == 40 + 4 * FAILBACK


def test_the_operator_s_word_is_in_the_sentence() -> None:
    def sentence(states: str, backend: str, said: Overrides) -> str:
        return evolve(REDIRECT, overrides=said).explain(healths(states), Active(backend, 0), 70)

    assert sentence("uuu", "quay", Overrides({"quay": NOW})) == "quay is active: it is pinned"
    assert (
        sentence("uud", "quay", Overrides({"quay": LATER}))
        == "quay is active: it is pinned for another 2 h, although it is down"
    )
    assert sentence("uuu", "ghcr", Overrides(drains={"hub": LATER})) == "ghcr is active: hub is drained for another 2 h"
    assert sentence("udu", "quay", Overrides(drains={"hub": NOW})) == "quay is active: hub is drained, ghcr down"
    everybody = Overrides(drains=dict.fromkeys(ORDER, NOW))
    assert (
        sentence("uuu", "hub", everybody)
        == "hub is active: every backend is drained, so the first one keeps the requests"
    )
    assert (
        sentence("udd", "ghcr", Overrides(drains={"hub": NOW}))
        == "ghcr is active: every backend that is not drained is down, "
        "so the first one keeps the requests"
    )


def test_the_service_manager_s_line_has_it_too() -> None:
    said = Overrides({"ghcr": Override(5)}, {"hub": Override(4)})
    line = summarise(ORDER, healths("uuu"), Active("ghcr", 0), said, lambda time: f"02:{time:02.0f}")
    assert line == "hub drained since 02:04; ghcr is active (pinned since 02:05)"


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(-1, "0 s"), (0, "0 s"), (59.6, "60 s"), (100, "2 min"), (3570, "1 h"), (7500, "2 h 5 min"), (90000, "25 h")],
)
def test_a_duration_is_said_as_a_person_says_it(seconds: float, reason: str) -> None:
    assert spell(seconds) == reason


class Failover(RuleBasedStateMachine):
    """Three backends, any results, any words of the operator, any passing of time."""

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
        usable_before = self.healths[before.backend].usable(self.purpose) and before.backend in selector.taking_part
        self.overrides = self.overrides.left(ORDER, self.now)
        self.active = self.selector.choose(self.healths, before, self.now)
        if self.active != before:
            assert self.active.since == self.now
        moved_earlier = ORDER.index(self.active.backend) < ORDER.index(before.backend)
        ruled = by_operator or self.overrides != selector.overrides or not self.healths_decide
        if moved_earlier and usable_before and not ruled:
            wait = self.healths[self.active.backend].failback_after(FAILBACK)
            assert self.now >= self.up_since[self.active.backend] + wait, "failback before its time"

    @property
    def healths_decide(self) -> bool:
        return not self.overrides.pins and set(self.overrides.drains) != set(ORDER)

    @rule(name=st.sampled_from(ORDER), result=st.sampled_from([GOOD, REFUSED, evolve(GOOD, verdict=Verdict.LIMITED)]))
    def hear(self, name: str, result: Result) -> None:
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
    def a_drained_one_is_in_charge_only_if_all_are(self) -> None:
        if self.active.backend in self.overrides.drains:
            assert set(self.overrides.drains) == set(ORDER)
            assert self.active.backend == ORDER[0]

    @invariant()
    def the_one_in_charge_works_if_any_does(self) -> None:
        if not self.healths_decide:
            return
        taking_part = [name for name in ORDER if name not in self.overrides.drains]
        if any(self.healths[name].usable(self.purpose) for name in taking_part):
            assert self.healths[self.active.backend].usable(self.purpose)
        else:
            assert self.active.backend == taking_part[0]

    @invariant()
    def asking_again_changes_nothing(self) -> None:
        assert self.selector.choose(self.healths, self.active, self.now) == self.active

    @invariant()
    def there_is_always_a_reason(self) -> None:
        assert self.active.backend in self.selector.explain(self.healths, self.active, self.now)


class ServingFailover(Failover):
    """The same for serving, for which `limited` counts as down."""

    purpose = Purpose.SERVE


TestFailover = Failover.TestCase
TestFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServingFailover = ServingFailover.TestCase
TestServingFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
