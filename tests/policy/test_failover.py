"""Who is in charge: examples, sentences, and a model that tries any interleaving of results and time."""

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from facaded.policy.failover import Charge, Order, describe, summarise
from facaded.policy.health import Health, Purpose, Result, Settings, State, Step, Verdict, observe

ORDER = ("hub", "ghcr", "quay")
REFUSED = Result(Verdict.BAD, Step.TOKEN, "time-out", 3.0)
GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
FAILBACK = 60.0
REDIRECT = Order(ORDER, FAILBACK)
SERVE = Order(ORDER, FAILBACK, Purpose.SERVE)


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
    charge = Charge(before, 5) if before else None
    after = REDIRECT.choose(healths(states), charge, now=100)
    assert after == Charge(chosen, 5 if chosen == before else 100)


def test_a_limited_backend_is_redirected_to_but_not_asked_by_the_facade_itself() -> None:
    limited = healths("luu")
    assert REDIRECT.choose(limited, None, 0).backend == "hub"
    assert SERVE.choose(limited, None, 0).backend == "ghcr"
    assert SERVE.choose(healths("lld"), None, 0).backend == "hub"
    assert SERVE.failback_at(limited, Charge("ghcr", 0)) is None


def test_failback_waits_until_the_earlier_one_has_been_up_long_enough() -> None:
    back = healths("uud") | {"ghcr": Health(State.UP, -1000), "hub": Health(State.UP, 40)}
    charge = Charge("ghcr", 0)
    assert REDIRECT.failback_at(back, charge) == 100
    assert REDIRECT.choose(back, charge, 99.9) == charge
    assert REDIRECT.choose(back, charge, 100) == Charge("hub", 100)


def test_no_failback_is_due_where_there_is_nothing_to_go_back_to() -> None:
    assert REDIRECT.failback_at(healths("uuu"), Charge("hub", 0)) is None
    assert REDIRECT.failback_at(healths("duu"), Charge("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("?uu"), Charge("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("udu"), Charge("ghcr", 0)) is None
    assert REDIRECT.failback_at(healths("uuu"), Charge("gone", 0)) is None


def test_one_sentence_says_who_is_in_charge_and_why() -> None:
    failed = evolve(Health(State.DOWN, 0), failed=REFUSED)

    def sentence(states: dict[str, Health], backend: str, order: tuple[str, ...] = ORDER) -> str:
        return Order(order, FAILBACK).explain(states, Charge(backend, 0), 70)

    assert sentence(healths("uuu"), "hub") == "hub is in charge: it is the first and up"
    assert sentence(healths("luu"), "hub") == "hub is in charge: it is the first and limited"
    assert sentence(healths("duu") | {"hub": failed}, "ghcr") == "ghcr is in charge: hub down (token server: time-out)"
    assert (
        sentence(healths("uuu", since=50), "ghcr")
        == "ghcr is in charge: hub is back, and takes over in 40 s if it stays up"
    )
    assert (
        sentence(healths("ddd"), "hub")
        == "hub is in charge: every backend is down, so the first one keeps the requests"
    )
    assert sentence(healths("uuu"), "hub", ("hub",)) == "hub is in charge: no other backend may stand in"


def test_a_line_for_the_service_manager_names_only_what_is_not_up() -> None:
    def written(time: float) -> str:
        return f"02:{time:02.0f}"

    failed = Health(State.DOWN, 13, failed=REFUSED)
    down = healths("duu") | {"hub": failed}
    line = summarise(ORDER, down, Charge("ghcr", 0), written)
    assert line == "hub down (token server: time-out) since 02:13; ghcr in charge"
    assert summarise(ORDER, healths("uuu"), Charge("hub", 0), written) == "hub in charge"
    assert describe("hub", Health(State.DOWN, 0)) == "hub down"


class Failover(RuleBasedStateMachine):
    """Three backends, any results, any passing of time."""

    order = REDIRECT

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.limits = Settings(fall=2, rise=2)
        self.healths = healths("???")
        self.charge = self.order.choose(self.healths, None, self.now)
        self.up_since: dict[str, float] = {}

    def settle(self) -> None:
        before = self.charge
        usable_before = self.healths[before.backend].usable(self.order.purpose)
        self.charge = self.order.choose(self.healths, before, self.now)
        if self.charge != before:
            assert self.charge.since == self.now
        moved_earlier = ORDER.index(self.charge.backend) < ORDER.index(before.backend)
        if moved_earlier and usable_before:
            assert self.now >= self.up_since[self.charge.backend] + FAILBACK, "failback before its time"

    @rule(name=st.sampled_from(ORDER), result=st.sampled_from([GOOD, REFUSED, evolve(GOOD, verdict=Verdict.LIMITED)]))
    def hear(self, name: str, result: Result) -> None:
        before = self.healths[name].usable(self.order.purpose) and self.healths[name].state is not State.UNKNOWN
        self.healths = {**self.healths, name: observe(self.healths[name], result, self.now, self.limits)}
        if self.healths[name].usable(self.order.purpose) and not before:
            self.up_since[name] = self.now
        self.settle()

    @rule(seconds=st.floats(0.1, 200))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.settle()

    @precondition(lambda self: self.order.failback_at(self.healths, self.charge) is not None)
    @rule()
    def wait_for_the_failback(self) -> None:
        due = self.order.failback_at(self.healths, self.charge)
        assert due is not None
        self.now = max(self.now, due)
        position = ORDER.index(self.charge.backend)
        self.settle()
        assert ORDER.index(self.charge.backend) < position

    @invariant()
    def the_one_in_charge_works_if_any_does(self) -> None:
        if any(each.usable(self.order.purpose) for each in self.healths.values()):
            assert self.healths[self.charge.backend].usable(self.order.purpose)
        else:
            assert self.charge.backend == ORDER[0]

    @invariant()
    def asking_again_changes_nothing(self) -> None:
        assert self.order.choose(self.healths, self.charge, self.now) == self.charge

    @invariant()
    def there_is_always_a_reason(self) -> None:
        assert self.charge.backend in self.order.explain(self.healths, self.charge, self.now)


class ServingFailover(Failover):
    """The same for serving, for which `limited` counts as down."""

    order = SERVE


TestFailover = Failover.TestCase
TestFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestServingFailover = ServingFailover.TestCase
TestServingFailover.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
