"""What follows from a watch_state, and what is said of a change, as values alone."""

import pytest
from attrs import evolve

from facaded.policy.changes import Takeover, Transition, announce, compare
from facaded.policy.decision import RoutingState
from facaded.policy.health import Canary, Health, ProbeDepth, Purpose, Result, Settings, State, Step, Verdict
from facaded.policy.overrides import Override, Overrides
from facaded.policy.plan import Plan, Watched
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState, begin, carry_over, follow

ROUTE = ("hub", "ghcr")
FAILED = Result(Verdict.BAD, Step.TOKEN, "time-out", 0.1)
GRANTED = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
UP, DOWN = Health(State.UP, 0.0, answering_since=0.0), Health(State.DOWN, 0.0, failed=FAILED, failed_at=0.0)


async def unasked(climb: ProbeDepth) -> Result:
    raise AssertionError("no policy probes")


def watched(name: str, manner: str = "") -> Watched:
    return Watched((name,), unasked, "org/app", (manner,))


PLAN = Plan({name: watched(name) for name in ROUTE}, (ROUTE,), Settings(failback_after=60.0), handover=100.0)


def stand(before: WatchState, now: float, overrides: Overrides | None = None, **healths: Health) -> WatchState:
    overrides = before.overrides if overrides is None else overrides
    return follow(before, PLAN, {**before.healths, **healths}, overrides, now, settled=True)


WELL = stand(begin(PLAN, None, 0.0), 0.0, hub=UP, ghcr=UP)
FAILED_OVER = stand(WELL, 10.0, hub=DOWN)


def test_a_failover_is_one_change_with_its_reason() -> None:
    change = compare(Snapshot(PLAN, WELL, 10.0), Snapshot(PLAN, FAILED_OVER, 10.0))
    assert change.when == 10.0
    assert change.news == "hub down (token server: time-out); ghcr is active"
    assert change.transitions == (Transition("hub", State.UP, State.DOWN, "token server: time-out"),)
    assert change.takeovers == tuple(Takeover((ROUTE, purpose), "hub", "ghcr") for purpose in Purpose)
    assert change.watch_state == FAILED_OVER
    assert change.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_nothing_that_changes_is_nothing_to_say() -> None:
    change = compare(Snapshot(PLAN, WELL, 10.0), Snapshot(PLAN, stand(WELL, 20.0), 20.0))
    assert (change.news, change.transitions, change.takeovers) == ("", (), ())
    assert announce("the clock has gone back", Snapshot(PLAN, WELL, 20.0)) == evolve(
        change, news="the clock has gone back"
    )


def test_a_failback_without_other_news_says_why() -> None:
    back = stand(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0))
    failed_back = stand(back, 80.0)
    change = compare(Snapshot(PLAN, back, 80.0), Snapshot(PLAN, failed_back, 80.0))
    assert change.news == "hub is active: it is the first and up"
    assert change.transitions == ()


def test_drift_is_said_when_it_comes_and_when_it_goes() -> None:
    drifting = stand(WELL, 10.0, ghcr=evolve(UP, canary=Canary(True, drift="no such tag")))
    come = compare(Snapshot(PLAN, WELL, 10.0), Snapshot(PLAN, drifting, 10.0))
    gone = compare(Snapshot(PLAN, drifting, 20.0), Snapshot(PLAN, WELL, 20.0))
    assert (come.news, gone.news) == ("ghcr drifts: no such tag; hub is active", "ghcr drifts no more; hub is active")


BACK = stand(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0))
PINNED = Overrides({"hub": Override(0.0, 50.0)})


@pytest.mark.parametrize(
    ("watch_state", "now", "due"),
    [
        (WELL, 10.0, None),
        (FAILED_OVER, 10.0, 110.0),  # the end of the handover
        (FAILED_OVER, 110.0, None),
        (BACK, 20.0, 80.0),  # the failback
        (stand(WELL, 10.0, PINNED), 10.0, 50.0),  # the end of the pin
        (stand(FAILED_OVER, 10.0, Overrides(drains={"ghcr": Override(0.0, 500.0)})), 110.0, 500.0),
    ],
)
def test_the_next_thing_that_time_brings_is_known(watch_state: WatchState, now: float, due: float | None) -> None:
    assert Snapshot(PLAN, watch_state, now).next_due == due


def test_no_client_is_led_anywhere_before_the_first_round_is_over() -> None:
    first = begin(PLAN, WatchState({}, {}, last_ping_target="hub", changed=-50.0), 0.0)
    unsettled = follow(first, PLAN, {"hub": DOWN, "ghcr": UP}, Overrides(), 1.0, settled=False)
    assert (unsettled.last_ping_target, unsettled.changed) == ("hub", -50.0)
    settled = follow(unsettled, PLAN, unsettled.healths, Overrides(), 2.0, settled=True)
    assert (settled.last_ping_target, settled.changed) == ("ghcr", 2.0)


def test_what_is_known_of_a_backend_depends_on_what_the_new_plan_makes_of_it() -> None:
    plan = evolve(PLAN, backends={"hub": watched("hub", "slower"), "ghcr": watched("ghcr"), "quay": watched("quay")})
    known = evolve(WELL, healths={"hub": UP, "ghcr": UP})
    assert plan.alike(PLAN) == {"ghcr"}
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
        (Health(State.DOWN, 0.0, failed=FAILED), "token server: time-out"),
        (Health(State.LIMITED, 0.0), ""),
    ],
)
def test_a_transition_says_what_was_seen(health: Health, why: str) -> None:
    plan = evolve(PLAN, backends={name: evolve(each, canary="") for name, each in PLAN.backends.items()})
    before = evolve(WELL, healths={"ghcr": UP})
    after = evolve(WELL, healths={"ghcr": UP, "hub": health})
    change = compare(Snapshot(plan, before, 0.0), Snapshot(plan, after, 0.0))
    assert change.transitions == (Transition("hub", None, health.state, why),)


def test_the_backends_that_have_had_the_canary_are_known() -> None:
    assert evolve(WELL, healths={**WELL.healths, "hub": evolve(UP, canary_seen=True)}).canary_seen == {"hub"}
