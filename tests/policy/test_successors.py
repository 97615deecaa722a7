"""Renames: which backend of new settings is which of the old ones, and the state by its new names."""

import pytest
from attrs import evolve

from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Canary, Damping, Health, ProbeDepth, Purpose, Result, Settings, State, Step
from facaded.policy.overrides import Override, Overrides
from facaded.policy.plan import Identity, Plan, WatchedBackend, successors
from facaded.policy.renaming import rename_snapshot, rename_state
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState, begin, carry_over, forget_canary

X, Y, Z = Identity("https://x.test"), Identity("https://y.test"), Identity("https://z.test")
OTHER_CANARY = evolve(X, canary="org/app:latest")
UP, DOWN = Health(State.UP, 1.0, canary_seen=True), Health(State.DOWN, 2.0, damping=Damping(relapses=3))
DRAIN = Override(5.0)


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        ({"a": X, "b": Y}, {"a": X, "b": Y}, {"a": "a", "b": "b"}),
        ({"a": X, "b": Y}, {"c": X, "b": Y}, {"a": "c", "b": "b"}),
        ({"a": X, "b": Y}, {"a": Y, "b": X}, {"a": "b", "b": "a"}),
        ({"a": X, "b": Y, "c": Z}, {"a": Z, "b": X, "c": Y}, {"a": "b", "b": "c", "c": "a"}),
        ({"a": X, "b": Y}, {"a": Z, "b": Y}, {"b": "b"}),
        ({"a": X, "b": Y}, {"a": Y}, {"b": "a"}),
        ({"a": X}, {"a": OTHER_CANARY}, {"a": "a"}),
        ({"a": X, "b": X}, {"b": X, "a": X}, {"a": "a", "b": "b"}),
        ({"a": X, "b": X}, {"b": X}, {"b": "b"}),
        ({"a": X, "b": X}, {"c": X}, {"a": "c"}),
        ({"a": X}, {"b": X, "c": X}, {"a": "b"}),
        ({"a": X}, {"b": X, "a": X}, {"a": "a"}),
        ({"a": X, "b": X}, {"c": X, "a": X}, {"a": "a", "b": "c"}),
        ({"a": X, "b": OTHER_CANARY}, {"c": OTHER_CANARY, "d": X}, {"a": "d", "b": "c"}),
        ({"a": X, "b": OTHER_CANARY}, {"b": X, "a": OTHER_CANARY}, {"a": "a", "b": "b"}),
        ({}, {"a": X}, {}),
        ({"a": X}, {}, {}),
    ],
)
def test_a_backend_is_known_by_its_url(
    before: dict[str, Identity], after: dict[str, Identity], names: dict[str, str]
) -> None:
    assert successors(before, after) == names


def test_a_plan_has_the_identities_of_its_backends() -> None:
    assert plan({"a": X, "b": OTHER_CANARY}, ("a", "b")).identities == {"a": X, "b": OTHER_CANARY}


async def no_probe(depth: ProbeDepth) -> Result:
    raise AssertionError("policy code never probes")


def plan(identities: dict[str, Identity], *routes: tuple[str, ...]) -> Plan:
    backends = {name: WatchedBackend(identity, no_probe) for name, identity in identities.items()}
    return Plan(backends, routes, Settings())


def places(*active: tuple[tuple[str, ...], str]) -> dict[tuple[tuple[str, ...], Purpose], ActiveBackend]:
    return {(route, purpose): ActiveBackend(name, 7.0) for route, name in active for purpose in Purpose}


BEFORE = WatchState(
    {"a": UP, "b": DOWN, "c": UP},
    places((("a", "b", "c"), "a"), (("b", "a"), "a"), (("c", "b"), "c")),
    Overrides({"c": DRAIN}, {"a": DRAIN, "b": DRAIN}),
    last_ping_target="https://x.test/v2/",
    ping_target_changed_at=3.0,
)


def test_everything_gets_the_new_names() -> None:
    assert rename_state(BEFORE, {"a": "main", "b": "c", "c": "b"}) == evolve(
        BEFORE,
        healths={"main": UP, "c": DOWN, "b": UP},
        active=places((("main", "c", "b"), "main"), (("c", "main"), "main"), (("b", "c"), "b")),
        overrides=Overrides({"b": DRAIN}, {"main": DRAIN, "c": DRAIN}),
    )


def test_a_backend_that_is_gone_keeps_its_place_in_a_route_unless_another_has_its_name() -> None:
    active = places((("a", "b", "c"), "a"), (("b", "a"), "a"))
    assert rename_state(BEFORE, {"a": "a", "b": "b"}).active == active
    assert rename_state(BEFORE, {"a": "c", "b": "b"}).active == places((("c", "b"), "c"), (("b", "c"), "c"))


def test_a_snapshot_is_renamed_with_its_plan() -> None:
    identities = {"a": X, "b": Y, "c": Z}
    snapshot = Snapshot(plan(identities, ("a", "b", "c"), ("b", "a"), ("c", "b")), BEFORE, 9.0)
    names = {"a": "main", "b": "b"}
    renamed = rename_snapshot(snapshot, names)
    assert renamed.watch_state == rename_state(BEFORE, names)
    assert renamed.plan == plan({"main": X, "b": Y}, ("main", "b", "c"), ("b", "main"), ("c", "b"))


@pytest.mark.parametrize("state", [State.DOWN, State.UP])
def test_another_canary_is_not_seen_and_no_step_has_failed(state: State) -> None:
    health = Health(
        state,
        1.0,
        deepest_failed_step=Step.BLOB,
        canary=Canary(True, drift="another digest"),
        canary_seen=True,
        deep_at=4.0,
        damping=Damping(relapses=2),
    )
    before, after = plan({"a": X}, ("a",)), plan({"a": OTHER_CANARY}, ("a",))
    expected = Health(State.DOWN if state is State.DOWN else State.UNKNOWN, 1.0, damping=Damping(relapses=2))
    assert carry_over(WatchState({"a": health}, {}), before, after, 9.0) == {"a": expected}
    assert forget_canary(health) == evolve(expected, state=state)


HEALTHS = dict.fromkeys("abcd", UP)
ACTIVE = places((("a", "b", "c"), "b"), (("c", "b", "a"), "c"), (("a", "c"), "a"))


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        (("a", "b", "c"), "b"),  # the same route
        (("a", "b"), "b"),  # the first without its last backend
        (("b", "a"), "b"),  # the second cannot be the one: its active backend is not on this route
        (("c", "b"), "c"),  # the second, because of the order
        (("a", "b", "c", "d"), "b"),  # the first with one more
        (("d", "a"), "a"),  # the only one whose active backend is on this route
        (("d",), "d"),
    ],
)
def test_a_new_route_continues_with_the_route_that_is_most_like_it(route: tuple[str, ...], expected: str) -> None:
    started = begin(plan({name: Identity(name) for name in "abcd"}, route), WatchState(HEALTHS, ACTIVE), 8.0)
    assert {active.backend for active in started.active.values()} == {expected}
