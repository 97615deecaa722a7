"""What has happened between two snapshots, and how bad it is."""

import pytest
from attrs import evolve

from facaded.policy.changes import compare
from facaded.policy.events import EventKind, Reason, Severity
from facaded.policy.health import Degradation, Health, Purpose, Result, State, Step, Verdict
from facaded.policy.outages import explain_outages, find_outages
from facaded.policy.overrides import Override, Overrides
from facaded.policy.plan import Plan
from facaded.policy.samples import Count
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState, begin
from tests.policy.test_changes import ALL_UP, DOWN, FAILED_OVER, PLAN, ROUTE, UP, next_state, watched

LIMITED = Health(State.LIMITED, 0.0, failed=Result(Verdict.LIMITED, Step.MANIFEST, "rate-limited (429)", 0.1))
REFUSED = Result(Verdict.BAD, Step.MANIFEST, "answered 500", 0.1)
BOTH_DOWN = next_state(FAILED_OVER, 20.0, ghcr=evolve(DOWN, failed=REFUSED))
PINNED_TO_HUB = Overrides(pins={"hub": Override(0.0)})
HUB_STAYS = next_state(ALL_UP, 10.0, hub=DOWN, ghcr=DOWN)
GHCR_RETURNS = next_state(HUB_STAYS, 20.0, ghcr=evolve(UP, since=20.0, answering_since=20.0))
DRAINED = Overrides(drains={"ghcr": Override(0.0)})
DEGRADED = evolve(UP, degraded=Degradation(10.0, Step.BLOB, Count(8, 6, 60.0)))


def at(watch_state: WatchState, now: float = 20.0) -> Snapshot:
    return Snapshot(PLAN, watch_state, now)


@pytest.mark.parametrize(
    ("before", "after", "kinds", "severity"),
    [
        (ALL_UP, FAILED_OVER, [EventKind.DOWN, EventKind.FAILOVER], Severity.WARNING),
        (FAILED_OVER, BOTH_DOWN, [EventKind.DOWN, EventKind.ALL_DOWN], Severity.ERROR),
        (BOTH_DOWN, BOTH_DOWN, [], Severity.INFO),
        (BOTH_DOWN, FAILED_OVER, [EventKind.UP, EventKind.ALL_DOWN_ENDED], Severity.NOTICE),
        (ALL_UP, next_state(ALL_UP, 20.0, ghcr=LIMITED), [EventKind.LIMITED], Severity.WARNING),
        (ALL_UP, next_state(ALL_UP, 20.0, ghcr=DEGRADED), [EventKind.DEGRADED], Severity.WARNING),
        (next_state(ALL_UP, 20.0, ghcr=DEGRADED), ALL_UP, [EventKind.UP], Severity.NOTICE),
        (ALL_UP, next_state(ALL_UP, 20.0, DRAINED), [EventKind.OVERRIDE], Severity.NOTICE),
        (HUB_STAYS, GHCR_RETURNS, [EventKind.UP, EventKind.ALL_DOWN_ENDED, EventKind.FAILOVER], Severity.NOTICE),
        (
            next_state(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0)),
            next_state(next_state(FAILED_OVER, 20.0, hub=evolve(UP, since=20.0, answering_since=20.0)), 80.0),
            [EventKind.FAILBACK],
            Severity.NOTICE,
        ),
    ],
)
def test_each_event_has_a_kind_and_a_severity(
    before: WatchState, after: WatchState, kinds: list[EventKind], severity: Severity
) -> None:
    change = compare(at(before), at(after, 80.0 if EventKind.FAILBACK in kinds else 20.0))
    assert [event.kind for event in change.events] == kinds
    assert change.severity is severity


def test_an_outage_of_all_backends_is_one_sentence_with_each_cause() -> None:
    assert compare(at(FAILED_OVER), at(BOTH_DOWN)).news == (
        "ALL BACKENDS DOWN (hub: timeout; ghcr: answered 500); ghcr stays active"
    )
    assert compare(at(BOTH_DOWN), at(FAILED_OVER)).news == "ghcr is up; clients are answered again; ghcr is active"


def test_backends_that_are_limited_are_told_apart() -> None:
    sentence = explain_outages(find_outages(at(next_state(FAILED_OVER, 20.0, ghcr=LIMITED))))
    assert sentence == "ALL BACKENDS DOWN OR LIMITED (hub: timeout; ghcr: rate-limited (429))"


@pytest.mark.parametrize(
    ("overrides", "healths", "is_outage"),
    [
        (Overrides(), {"hub": DOWN, "ghcr": UP}, False),
        (DRAINED, {"hub": DOWN, "ghcr": UP}, True),
        (Overrides(drains={"ghcr": Override(0.0), "hub": Override(0.0)}), {"hub": DOWN, "ghcr": UP}, False),
        (Overrides(), {"hub": DOWN, "ghcr": Health(State.UNKNOWN, 0.0)}, True),
        (Overrides(), {"hub": UP, "ghcr": Health(State.UNKNOWN, 0.0)}, False),
        (PINNED_TO_HUB, {"hub": DOWN, "ghcr": UP}, True),
        (PINNED_TO_HUB, {"hub": LIMITED, "ghcr": DOWN}, False),
    ],
)
def test_only_backends_that_are_in_use_count(overrides: Overrides, healths: dict[str, Health], is_outage: bool) -> None:
    assert bool(find_outages(at(next_state(ALL_UP, 20.0, overrides, **healths)))) is is_outage


def test_before_the_first_probes_have_ended_what_is_unknown_may_work() -> None:
    state = next_state(ALL_UP, 20.0, hub=DOWN, ghcr=Health(State.UNKNOWN, 0.0))
    assert find_outages(evolve(at(state), settled=False)) == ()


def test_a_backend_that_is_added_in_an_outage_does_not_end_it() -> None:
    plan = evolve(PLAN, backends={**PLAN.backends, "quay": watched("quay")}, routes=(("hub", "ghcr", "quay"),))
    healths = {**BOTH_DOWN.healths, "quay": Health(State.UNKNOWN, 20.0)}
    added = begin(plan, evolve(BOTH_DOWN, healths=healths), 20.0)
    change = compare(at(BOTH_DOWN), Snapshot(plan, added, 20.0))
    assert EventKind.ALL_DOWN_ENDED not in [event.kind for event in change.events]
    working = evolve(added, healths={**healths, "quay": UP})
    change = compare(Snapshot(plan, added, 21.0), Snapshot(plan, working, 21.0))
    assert EventKind.ALL_DOWN_ENDED in [event.kind for event in change.events]


def test_with_redirects_alone_a_limited_backend_still_answers_clients() -> None:
    limited = next_state(FAILED_OVER, 20.0, ghcr=LIMITED)
    assert find_outages(at(limited))
    assert find_outages(evolve(at(limited), plan=evolve(PLAN, serves=False))) == ()


def test_the_outage_of_a_pinned_backend_is_told() -> None:
    pinned = next_state(ALL_UP, 20.0, PINNED_TO_HUB)
    change = compare(at(pinned), at(next_state(pinned, 20.0, hub=DOWN)))
    assert change.news == "THE PINNED BACKEND IS DOWN (hub: timeout); hub stays active"
    assert change.severity is Severity.ERROR


def test_a_failover_in_two_steps_is_a_warning() -> None:
    doubtful = evolve(UP, bads=1)
    waiting = next_state(ALL_UP, 10.0, hub=DOWN, ghcr=doubtful)
    assert waiting.active[ROUTE, Purpose.REDIRECT].backend == "hub"
    change = compare(at(waiting), at(next_state(waiting, 11.0, ghcr=UP)))
    assert ([event.kind for event in change.events], change.severity) == ([EventKind.FAILOVER], Severity.WARNING)


def test_an_outage_of_one_route_names_its_backends() -> None:
    plan = Plan({name: watched(name) for name in ("hub", "ghcr")}, (("ghcr",), ("hub", "ghcr")), PLAN.settings)
    state = evolve(begin(plan, None, 0.0), healths={"hub": UP, "ghcr": DOWN})
    (outage,) = find_outages(Snapshot(plan, state, 20.0))
    assert outage.sentence == "ALL BACKENDS DOWN on the route ghcr (ghcr: timeout)"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (ALL_UP, FAILED_OVER, Reason.DOWN),
        (ALL_UP, next_state(ALL_UP, 20.0, hub=DEGRADED), Reason.DEGRADED),
        (ALL_UP, next_state(ALL_UP, 20.0, Overrides(drains={"hub": Override(0.0)})), Reason.DRAINED),
        (next_state(ALL_UP, 20.0, Overrides(drains={"hub": Override(0.0)})), ALL_UP, Reason.UNDRAINED),
        (ALL_UP, next_state(ALL_UP, 20.0, Overrides(pins={"ghcr": Override(0.0)})), Reason.PINNED),
        (next_state(ALL_UP, 20.0, Overrides(pins={"ghcr": Override(0.0)})), ALL_UP, Reason.UNPINNED),
        (FAILED_OVER, ALL_UP, Reason.FAILBACK),
    ],
)
def test_a_takeover_has_one_of_a_few_reasons(before: WatchState, after: WatchState, reason: Reason) -> None:
    takeovers = compare(at(before), at(after)).takeovers
    assert {takeover.reason for takeover in takeovers} == {reason}


def test_what_is_limited_takes_over_for_serving_alone() -> None:
    takeovers = compare(at(ALL_UP), at(next_state(ALL_UP, 20.0, hub=LIMITED))).takeovers
    assert [(takeover.place[1], takeover.reason) for takeover in takeovers] == [(Purpose.SERVE, Reason.LIMITED)]
