"""Watch states and snapshots, and the changes between them."""

import pytest
from attrs import evolve

from facaded.policy.changes import Takeover, Transition, announce, compare
from facaded.policy.decision import RoutingState
from facaded.policy.events import Reason, Severity
from facaded.policy.health import (
    LONGEST_HOLD,
    Canary,
    Degradation,
    Health,
    ProbeDepth,
    Purpose,
    Rank,
    Result,
    Settings,
    State,
    Step,
    Verdict,
)
from facaded.policy.overrides import Override, Overrides
from facaded.policy.plan import Identity, Plan, WatchedBackend
from facaded.policy.samples import Count
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState, begin, carry_over, follow

ROUTE = ("hub", "ghcr")
FAILED = Result(Verdict.BAD, Step.TOKEN, "timeout", 0.1)
GRANTED = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
UP, DOWN = Health(State.UP, 0.0, answering_since=0.0), Health(State.DOWN, 0.0, failed=FAILED, failed_at=0.0)


async def no_probe(depth: ProbeDepth) -> Result:
    raise AssertionError("policy code never probes")


def watched(name: str, manner: str = "") -> WatchedBackend:
    return WatchedBackend(Identity(name), no_probe, "org/app", (manner,))


PLAN = Plan({name: watched(name) for name in ROUTE}, (ROUTE,), Settings(failback_after=60.0), handover=100.0)


def next_state(before: WatchState, now: float, overrides: Overrides | None = None, **healths: Health) -> WatchState:
    overrides = before.overrides if overrides is None else overrides
    return follow(before, PLAN, {**before.healths, **healths}, overrides, now, settled=True)


ALL_UP = next_state(begin(PLAN, None, 0.0), 0.0, hub=UP, ghcr=UP)
FAILED_OVER = next_state(ALL_UP, 10.0, hub=DOWN)


def test_a_failover_is_one_change_with_its_reason() -> None:
    change = compare(Snapshot(PLAN, ALL_UP, 10.0), Snapshot(PLAN, FAILED_OVER, 10.0))
    assert change.when == 10.0
    assert change.news == "hub is down (token server: timeout); ghcr is active"
    assert change.transitions == (Transition("hub", State.UP, State.DOWN, "token server: timeout"),)
    assert change.takeovers == tuple(Takeover((ROUTE, purpose), "hub", "ghcr", Reason.DOWN) for purpose in Purpose)
    assert change.watch_state == FAILED_OVER
    assert change.routing == RoutingState(("ghcr",), ("ghcr",), handover=True, ranks={"hub": Rank.DOWN})


def test_without_a_change_there_is_no_news() -> None:
    change = compare(Snapshot(PLAN, ALL_UP, 10.0), Snapshot(PLAN, next_state(ALL_UP, 20.0), 20.0))
    assert (change.news, change.transitions, change.takeovers) == ("", (), ())
    assert announce("the clock has gone back", Snapshot(PLAN, ALL_UP, 20.0)) == evolve(
        change, news="the clock has gone back", severity=Severity.NOTICE
    )


def test_a_failback_without_other_news_says_why() -> None:
    back = next_state(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0))
    failed_back = next_state(back, 80.0)
    change = compare(Snapshot(PLAN, back, 80.0), Snapshot(PLAN, failed_back, 80.0))
    assert change.news == "hub is active: it is the preferred backend and is up"
    assert change.transitions == ()


def test_drift_is_news_when_it_begins_and_when_it_ends() -> None:
    drifting = next_state(ALL_UP, 10.0, ghcr=evolve(UP, canary=Canary(True, drift="no such tag")))
    begun = compare(Snapshot(PLAN, ALL_UP, 10.0), Snapshot(PLAN, drifting, 10.0))
    ended = compare(Snapshot(PLAN, drifting, 20.0), Snapshot(PLAN, ALL_UP, 20.0))
    assert begun.news == "ghcr drifts: no such tag; hub is active"
    assert ended.news == "ghcr no longer drifts; hub is active"
    assert compare(Snapshot(PLAN, drifting, 20.0), Snapshot(PLAN, drifting, 20.0)).news == ""


def test_a_brown_out_is_news_when_it_begins_and_when_it_ends() -> None:
    brown_out = Degradation(10.0, Step.BLOB, Count(8, 6, 60.0))
    degraded = next_state(ALL_UP, 10.0, hub=evolve(UP, degraded=brown_out))
    begun = compare(Snapshot(PLAN, ALL_UP, 10.0), Snapshot(PLAN, degraded, 10.0))
    assert begun.news == "hub is degraded (blob: 6 of 8 requests failed in 60 s); ghcr is active"
    assert begun.transitions == ()
    assert begun.routing.ranks == {"hub": Rank.DEGRADED}
    calm = next_state(degraded, 900.0, hub=evolve(UP, sound_since=900.0))
    assert compare(Snapshot(PLAN, degraded, 900.0), Snapshot(PLAN, calm, 900.0)).news == (
        "hub is no longer degraded; ghcr is active"
    )
    assert compare(Snapshot(PLAN, degraded, 900.0), Snapshot(PLAN, degraded, 900.0)).news == ""
    back = next_state(calm, 960.0)
    assert back.active[ROUTE, Purpose.REDIRECT].backend == "hub"


def test_a_brown_out_that_ends_because_the_backend_is_down_is_one_piece_of_news() -> None:
    degraded = next_state(ALL_UP, 10.0, hub=evolve(UP, degraded=Degradation(10.0, Step.BLOB, Count(8, 6, 60.0))))
    down = next_state(degraded, 20.0, hub=DOWN)
    change = compare(Snapshot(PLAN, degraded, 20.0), Snapshot(PLAN, down, 20.0))
    assert change.news == "hub is down (token server: timeout); ghcr is active"


def test_the_end_of_drift_is_no_news_if_the_backend_is_gone() -> None:
    drifting = next_state(ALL_UP, 10.0, ghcr=evolve(UP, canary=Canary(True, drift="no such tag")))
    alone = Plan({"hub": watched("hub")}, (("hub",),), Settings())
    begun = begin(alone, evolve(ALL_UP, healths={"hub": UP}), 20.0)
    assert compare(Snapshot(PLAN, drifting, 20.0), Snapshot(alone, begun, 20.0)).news == ""


BACK = next_state(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0))
PINNED = Overrides({"hub": Override(0.0, 50.0)})


@pytest.mark.parametrize(
    ("watch_state", "now", "due"),
    [
        (ALL_UP, 10.0, None),
        (FAILED_OVER, 10.0, 110.0),  # the end of the handover
        (FAILED_OVER, 110.0, None),
        (BACK, 20.0, 80.0),  # the failback
        (next_state(ALL_UP, 10.0, hub=evolve(UP, retry_at=40.0)), 10.0, 40.0),  # the end of a Retry-After
        (next_state(ALL_UP, 50.0, hub=evolve(UP, retry_at=40.0)), 50.0, None),
        (next_state(ALL_UP, 10.0, ghcr=evolve(UP, recovering_since=9.0)), 10.0, 9.0 + LONGEST_HOLD),  # of its wait
        (next_state(ALL_UP, 10.0, ghcr=evolve(UP, recovering_since=9.0)), 9.0 + LONGEST_HOLD, None),
        (next_state(ALL_UP, 10.0, PINNED), 10.0, 50.0),  # the end of the pin
        (next_state(FAILED_OVER, 10.0, Overrides(drains={"ghcr": Override(0.0, 500.0)})), 110.0, 500.0),
    ],
)
def test_the_next_change_that_is_due_is_known(watch_state: WatchState, now: float, due: float | None) -> None:
    assert Snapshot(PLAN, watch_state, now).next_due == due


def test_the_ping_target_stays_until_the_first_round_of_probes_has_ended() -> None:
    first = begin(PLAN, WatchState({}, {}, last_ping_target="hub", ping_target_changed_at=-50.0), 0.0)
    unsettled = follow(first, PLAN, {"hub": DOWN, "ghcr": UP}, Overrides(), 1.0, settled=False)
    assert (unsettled.last_ping_target, unsettled.ping_target_changed_at) == ("hub", -50.0)
    settled = follow(unsettled, PLAN, unsettled.healths, Overrides(), 2.0, settled=True)
    assert (settled.last_ping_target, settled.ping_target_changed_at) == ("ghcr", 2.0)


def test_a_new_plan_carries_over_the_health_of_the_backends_that_it_keeps() -> None:
    plan = evolve(PLAN, backends={"hub": watched("hub", "slower"), "ghcr": watched("ghcr"), "quay": watched("quay")})
    known = evolve(ALL_UP, healths={"hub": UP, "ghcr": UP})
    assert plan.unchanged_since(PLAN) == {"ghcr"}
    assert carry_over(known, PLAN, plan, 9.0) == {
        "hub": evolve(UP, state=State.UNKNOWN),
        "ghcr": UP,
        "quay": Health(State.UNKNOWN, 9.0),
    }


@pytest.mark.parametrize(
    ("health", "why"),
    [
        (Health(State.UNKNOWN, 0.0, last=FAILED), ""),
        (Health(State.UP, 0.0, last=GRANTED), "token server: token granted"),
        (Health(State.DOWN, 0.0, failed=FAILED), "token server: timeout"),
        (Health(State.LIMITED, 0.0), ""),
    ],
)
def test_a_transition_has_the_probe_result_behind_it(health: Health, why: str) -> None:
    plan = evolve(PLAN, backends={name: evolve(backend, canary="") for name, backend in PLAN.backends.items()})
    before = evolve(ALL_UP, healths={"ghcr": UP})
    after = evolve(ALL_UP, healths={"ghcr": UP, "hub": health})
    change = compare(Snapshot(plan, before, 0.0), Snapshot(plan, after, 0.0))
    assert change.transitions == (Transition("hub", None, health.state, why),)


def test_the_backends_that_have_ever_had_the_canary_are_known() -> None:
    assert evolve(ALL_UP, healths={**ALL_UP.healths, "hub": evolve(UP, canary_seen=True)}).canary_seen == {"hub"}
