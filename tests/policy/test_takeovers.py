"""Takeovers: what becomes active after a backend that is not usable, and which backends are probed before."""

import pytest
from attrs import evolve

from facaded.policy.failover import ActiveBackend, Place, Selector
from facaded.policy.health import (
    LONGEST_HOLD,
    Degradation,
    Health,
    Purpose,
    Rank,
    Result,
    State,
    Step,
    Verdict,
)
from facaded.policy.overrides import Override, Overrides
from facaded.policy.samples import Count
from facaded.policy.watch_state import WatchState

ORDER = ("hub", "ghcr", "quay")
NOW = 1000.0
TIMEOUT = Result(Verdict.BAD, Step.PING, "timeout", 3.0)
UP = Health(State.UP, 0.0)
DOWN = Health(State.DOWN, 990.0, failed=TIMEOUT, failed_at=990.0)
BROWN_OUT = Degradation(900.0, Step.CDN, Count(8, 6, 60.0))
LETTERS = {
    "u": UP,
    "f": evolve(UP, bads=1),
    "l": Health(State.LIMITED, 0.0),
    "x": evolve(UP, degraded=BROWN_OUT),
    "d": DOWN,
    "r": evolve(DOWN, goods=1, recovering_since=999.0),
    "n": evolve(UP, recovering_since=999.0),  # has come back from down just now
    "o": evolve(UP, recovering_since=986.0),  # has come back before the last probe of "d" began
    "?": Health(State.UNKNOWN, 0.0),
}


def healths(letters: str) -> dict[str, Health]:
    return {name: LETTERS[letter] for name, letter in zip(ORDER, letters, strict=True)}


def choose(letters: str, before: str, purpose: Purpose = Purpose.REDIRECT, drained: str = "") -> str:
    overrides = Overrides(drains={drained: Override(0.0)} if drained else {})
    selector = Selector(ORDER, 60.0, purpose, overrides)
    return selector.choose(healths(letters), ActiveBackend(before, 0.0), NOW).backend


@pytest.mark.parametrize(
    ("letters", "before", "after"),
    [
        ("duu", "hub", "ghcr"),
        ("dfu", "hub", "quay"),  # nothing moves to a backend that is failing
        ("dff", "hub", "hub"),
        ("d??", "hub", "hub"),  # nor to one that has not been probed
        ("d?u", "hub", "quay"),
        ("d?f", "hub", "hub"),
        ("ddd", "quay", "quay"),  # the last healthy one stays active
        ("ddd", "ghcr", "ghcr"),
        ("rdu", "hub", "hub"),  # one that recovers keeps its place
        ("rnn", "hub", "hub"),
        ("dnd", "hub", "hub"),  # the first recovery waits until the active one has been probed
        ("dod", "hub", "ghcr"),
        ("dnu", "hub", "quay"),  # but not what was up all along
        ("dno", "hub", "quay"),
        ("ddl", "hub", "quay"),
        ("dxu", "hub", "quay"),  # degraded ones are for want of better ones
        ("dxd", "hub", "ghcr"),
        ("xdd", "hub", "hub"),
        ("xuu", "hub", "ghcr"),
        ("xfd", "hub", "hub"),
        ("xxx", "quay", "quay"),
        ("fuu", "hub", "hub"),
    ],
)
def test_what_becomes_active_after_a_backend(letters: str, before: str, after: str) -> None:
    assert choose(letters, before) == after


@pytest.mark.parametrize(
    ("letters", "after"),
    [("luu", "ghcr"), ("lfu", "quay"), ("lff", "hub"), ("lll", "hub"), ("lnd", "ghcr"), ("ldd", "hub")],
)
def test_a_limited_backend_is_left_for_serving_by_the_same_rules(letters: str, after: str) -> None:
    assert choose(letters, "hub", Purpose.SERVE) == after
    assert choose(letters, "hub", Purpose.REDIRECT) == "hub"


@pytest.mark.parametrize(
    ("letters", "after"), [("u?u", "quay"), ("ufu", "quay"), ("uff", "ghcr"), ("u??", "ghcr"), ("udd", "ghcr")]
)
def test_a_drained_backend_is_left_whatever_the_others_are(letters: str, after: str) -> None:
    assert choose(letters, "hub", drained="hub") == after


@pytest.mark.parametrize(
    ("changes", "now", "waits"),
    [
        ({}, NOW, True),
        ({"failed_at": 1001.9}, 1002.0, True),
        ({"failed_at": 1002.0}, 1002.0, False),
        ({}, 999.0 + LONGEST_HOLD - 0.1, True),
        ({}, 999.0 + LONGEST_HOLD, False),
        ({"retry_at": NOW + 60}, NOW, False),
        ({"retry_at": NOW - 1}, NOW, True),
        ({"failed": None}, NOW, False),
        ({"failed_at": None}, NOW, False),
        ({"state": State.UP}, NOW, False),
    ],
)
def test_a_recovery_waits_for_a_probe_that_began_after_it_unless_there_can_be_none(
    changes: dict[str, object], now: float, waits: bool
) -> None:
    down = evolve(DOWN, **changes)  # type: ignore[arg-type]
    assert down.may_recover_with(LETTERS["n"], now) is waits
    assert not down.may_recover_with(UP, now)


def state(letters: str, active: str) -> WatchState:
    places: dict[Place, ActiveBackend] = {(ORDER, purpose): ActiveBackend(active, 0.0) for purpose in Purpose}
    return WatchState(healths(letters), places)


@pytest.mark.parametrize(
    ("letters", "active", "name", "rivals"),
    [
        ("fuu", "hub", "hub", {"ghcr", "quay"}),
        ("fuu", "ghcr", "hub", set()),
        ("uuu", "hub", "hub", set()),
        ("ddr", "hub", "quay", {"hub", "ghcr"}),
        ("rdd", "hub", "hub", {"ghcr", "quay"}),
        ("rdu", "quay", "hub", set()),
        ("ddd", "hub", "hub", set()),
    ],
)
def test_the_rivals_of_a_backend_are_probed_before_anything_moves(
    letters: str, active: str, name: str, rivals: set[str]
) -> None:
    assert state(letters, active).rivals(name) == rivals


def test_only_the_routes_of_a_backend_have_rivals() -> None:
    shared: dict[Place, str] = {(("hub", "ghcr"), Purpose.REDIRECT): "hub", (("quay", "hub"), Purpose.REDIRECT): "quay"}
    places = {place: ActiveBackend(name, 0.0) for place, name in shared.items()}
    watch_state = WatchState(healths("fuu"), places)
    assert watch_state.rivals("hub") == {"ghcr"}
    assert (
        WatchState(healths("ddr"), {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("hub", 0.0)}).rivals("quay")
        == frozenset()
    )


@pytest.mark.parametrize(
    ("letters", "active", "awaited"),
    [
        ("dnd", "hub", {"hub"}),
        ("dnd", "quay", {"quay"}),
        ("dod", "hub", set()),
        ("rnd", "hub", {"hub"}),
        ("und", "hub", set()),
    ],
)
def test_the_active_backend_is_awaited_while_another_recovers(letters: str, active: str, awaited: set[str]) -> None:
    watch_state = state(letters, active)
    assert {name for name in ORDER if watch_state.is_awaited(name, NOW)} == awaited


@pytest.mark.parametrize(
    ("letter", "rank", "sound", "failing", "recovering"),
    [
        ("u", Rank.UP, True, False, False),
        ("f", Rank.UP, False, True, False),
        ("x", Rank.DEGRADED, False, False, False),
        ("l", Rank.LIMITED, True, False, False),
        ("?", Rank.UNKNOWN, False, False, False),
        ("d", Rank.DOWN, False, False, False),
        ("r", Rank.DOWN, False, False, True),
    ],
)
def test_the_properties_of_a_health(letter: str, rank: Rank, sound: bool, failing: bool, recovering: bool) -> None:
    health = LETTERS[letter]
    assert (health.rank, health.is_sound) == (rank, sound)
    assert (health.is_failing, health.is_recovering) == (failing, recovering)


def test_a_degraded_backend_is_as_old_as_the_end_of_its_brown_out() -> None:
    health = Health(State.UP, 500.0, answering_since=400.0)
    assert (health.usable_since(Purpose.REDIRECT), health.usable_since(Purpose.SERVE)) == (400.0, 500.0)
    calm = evolve(health, sound_since=450.0)
    assert (calm.usable_since(Purpose.REDIRECT), calm.usable_since(Purpose.SERVE)) == (450.0, 500.0)


def test_a_takeover_that_waits_for_a_probe_is_explained() -> None:
    sentence = Selector(ORDER, 60.0).explain(healths("dnd"), ActiveBackend("hub", 0.0), NOW)
    assert sentence == "hub is active: it is down, and the others are probed before one of them takes over"
