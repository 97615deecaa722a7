"""The end of the wait for a failback, as the operator asks for it."""

import pytest

from facaded.policy.failover import ActiveBackend, Selector
from facaded.policy.health import Health, Purpose, State
from facaded.policy.overrides import Override, Overrides
from facaded.policy.plan import Plan
from facaded.policy.watch_state import WatchState, fail_back
from tests.watching import SETTINGS

ORDER = ("hub", "ghcr", "quay")
LETTERS = {"u": State.UP, "d": State.DOWN, "l": State.LIMITED}
SELECTOR = Selector(ORDER, failback_after=60.0)
NOW = 110.0


def healths(states: str) -> dict[str, Health]:
    """Return healths since 10 s ago, one for each letter."""
    return {name: Health(LETTERS[letter], NOW - 10) for name, letter in zip(ORDER, states, strict=True)}


@pytest.mark.parametrize(
    ("states", "active", "expected"),
    [
        ("uuu", "quay", "hub"),
        ("duu", "quay", "ghcr"),
        ("uuu", "hub", "hub"),
        ("ddu", "quay", "quay"),
        ("ddd", "quay", "quay"),
        ("uud", "quay", "quay"),  # the last one: it is down, so that nothing waits, and probes decide
    ],
)
def test_the_first_backend_that_is_up_and_waits_is_active(states: str, active: str, expected: str) -> None:
    before = ActiveBackend(active, 50)
    after = SELECTOR.fail_back(healths(states), before, NOW)
    assert after == (before if expected == active else ActiveBackend(expected, NOW))
    if expected != active:
        assert SELECTOR.choose(healths(states), after, NOW) == after, "it stays active"


def test_a_pin_is_stronger() -> None:
    pinned = Selector(ORDER, 60.0, overrides=Overrides({"ghcr": Override(0)}))
    assert pinned.fail_back(healths("uuu"), ActiveBackend("ghcr", 50), NOW).backend == "ghcr"


def test_every_route_and_both_ways_to_answer_fail_back() -> None:
    plan = Plan({}, (ORDER, ("ghcr", "quay")), SETTINGS, 3600, lambda redirecting: "")
    places = [(route, purpose) for route in plan.routes for purpose in Purpose]
    before = WatchState(healths("luu"), {place: ActiveBackend("quay", 50) for place in places})
    after = fail_back(before, plan, NOW)
    assert [after[place].backend for place in places] == ["hub", "ghcr", "ghcr", "ghcr"]
