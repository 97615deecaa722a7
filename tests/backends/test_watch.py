"""The watch: first round, detection times, failback, the operator's word, news, and a plan that changes."""

import pytest
from attrs import evolve
from twisted.logger import LogEvent

from facaded.backends.watch import FIRST_ROUND
from facaded.policy.changes import Change, Takeover, Transition
from facaded.policy.decision import RoutingState
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Canary, Health, Purpose, Quota, Result, State, Step, Verdict
from facaded.policy.overrides import ContradictionError, Overrides
from facaded.policy.watch_state import WatchState
from tests.watching import BAD, GOOD, Watching, fail, up

REQUESTS = {Step.PING: 1, Step.TOKEN: 2, Step.MANIFEST: 3, Step.BLOB: 5}
"""How many requests a probe has made when it has climbed a step; the last one makes two, one of them to the CDN."""


def test_the_first_round_is_over_when_every_backend_has_answered() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.backends.answer("hub", GOOD)
    assert not settled.called
    watching.backends.answer("ghcr", GOOD)
    assert settled.called
    assert watching.watch.when_settled().called
    assert watching.active == "hub"


def test_one_bad_result_in_the_first_round_keeps_the_first_answer_away() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    assert watching.watch.settled
    assert watching.active == "ghcr"


def test_a_backend_without_a_result_by_the_end_of_the_first_round_is_down_if_another_is_up() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("ghcr", GOOD)
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.active == "ghcr"
    assert "no answer within 3 s" in watching.watch.snapshot().explain()


def test_without_any_result_the_first_one_is_asked() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.active == "hub"
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN


def test_a_state_that_was_kept_is_gone_by_until_it_is_refuted() -> None:
    kept = WatchState(
        {"hub": Health(State.DOWN, -100), "ghcr": Health(State.UNKNOWN, -100)},
        {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", -100)},
    )
    watching = up("hub", "ghcr", saved=kept)
    assert watching.active == "ghcr"
    watching.advance(1)
    watching.backends.answer("hub", GOOD)
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    assert watching.active == "ghcr"
    watching.advance(60)
    assert watching.active == "hub"


def test_a_kept_charge_of_a_backend_that_is_gone_from_the_settings_is_forgotten() -> None:
    kept = WatchState(
        {"gone": Health(State.UP, -100)}, {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("gone", -100)}
    )
    assert up("hub", "ghcr", saved=kept).active == "hub"


def test_a_backend_that_fails_is_left_after_fall_results_and_said_so_in_one_line() -> None:
    watching = up("hub", "ghcr")
    watching.news.clear()
    watching.advance(10)
    watching.backends.answer("hub", BAD)
    assert watching.active == "hub"
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    assert watching.active == "ghcr"
    assert watching.news == ["hub is down (GET /v2/: connection refused); ghcr is active"]


def test_failback_comes_when_it_is_due_and_not_only_at_the_next_probe() -> None:
    watching = up("hub", "ghcr", failback_after=3)
    fail(watching, "hub")
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(1)
    watching.news.clear()
    watching.backends.answer("hub", GOOD)
    assert watching.news == ["hub is up; ghcr is active"]
    watching.advance(2.9)
    assert watching.active == "ghcr"
    watching.advance(0.2)
    assert watching.active == "hub"
    assert watching.news[1:] == ["hub is active: it is the preferred backend and is up"]


def test_a_plan_that_keeps_a_backend_keeps_what_is_known_of_it() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    before = watching.watch.watch_state.healths["hub"]
    asked = len(watching.backends.probed)
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.watch.watch_state.healths["hub"] == before
    assert watching.backends.probed[asked:] == ["quay"]
    assert watching.active == "ghcr"


def test_a_plan_with_another_place_for_a_backend_forgets_what_was_known_of_it() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"hub": "elsewhere"}))
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN
    watching.backends.answer("hub", GOOD)
    assert watching.active == "ghcr", "failback still takes its time"


def test_a_plan_with_other_times_begins_to_go_by_them_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.advance(5)
    asked = len(watching.backends.probed)
    plan = watching.backends.plan("hub", "ghcr")
    watching.watch.reconfigure(evolve(plan, settings=evolve(plan.settings, interval=2)))
    assert watching.backends.probed[asked:] == ["hub", "ghcr"]
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    for name in ("hub", "ghcr"):
        watching.backends.answer(name, GOOD)
    watching.advance(2)
    assert len(watching.backends.probed) == asked + 4


def test_a_plan_without_the_one_in_charge_puts_another_in_charge_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.watch.reconfigure(watching.backends.plan("ghcr"))
    assert watching.active == "ghcr"
    assert "hub" not in watching.watch.watch_state.healths


def test_the_result_of_a_probe_that_the_plan_has_dropped_is_not_heard() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    dropped = watching.backends.waiting["ghcr"]
    watching.watch.reconfigure(watching.backends.plan("hub"))
    assert dropped.called, "cancelled"
    assert set(watching.watch.watch_state.healths) == {"hub"}


def test_a_stop_cancels_the_probes_and_lets_waiting_requests_go() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.watch.stopService()
    assert settled.called
    assert sorted(watching.backends.cancelled) == ["ghcr", "hub"]
    assert watching.clock.getDelayedCalls() == []


def test_a_limited_backend_keeps_the_redirects_and_loses_the_serving() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    assert watching.routing == RoutingState(("hub",), ("ghcr",))


def test_a_failed_request_brings_the_next_probe_forward_and_takes_it_to_the_blob() -> None:
    watching = up("hub", "ghcr")
    watching.advance(5)
    asked = len(watching.backends.probed)
    watching.watch.probe_soon("hub")
    watching.watch.probe_soon("nowhere")
    watching.clock.advance(0)
    assert watching.backends.probed[asked:] == ["hub"]
    assert watching.backends.depths["hub"][-1].deep
    watching.backends.answer("hub", evolve(GOOD, deep=True))
    watching.advance(10)
    assert not watching.backends.depths["hub"][-1].deep


def test_a_backend_that_is_down_is_asked_when_it_has_said() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", evolve(BAD, retry_after=60))
    watching.backends.answer("ghcr", GOOD)
    watching.advance(2)
    asked = watching.backends.probed.count("hub")
    watching.watch.probe_soon("hub")
    watching.advance(57)
    assert watching.backends.probed.count("hub") == asked
    watching.advance(2)
    assert watching.backends.probed.count("hub") == asked + 1


def test_a_backend_that_is_limited_still_has_the_redirects_and_so_is_looked_at_when_there_is_reason() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED, retry_after=600))
    watching.backends.answer("ghcr", GOOD)
    watching.advance(60)
    watching.watch.probe_soon("hub")
    watching.clock.advance(0)
    watching.backends.answer("hub", BAD)
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    assert watching.active == "ghcr"


def test_what_is_known_of_a_backend_that_is_asked_in_another_way_is_kept_as_over_a_restart() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    watching.advance(10)
    watching.backends.answer("hub", BAD)
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    plan = watching.backends.plan("hub", "ghcr")
    slower = {name: evolve(each, manner=("5 s",)) for name, each in plan.backends.items()}
    watching.watch.reconfigure(evolve(plan, backends=slower))
    assert watching.active == "ghcr"
    health = watching.watch.watch_state.healths["hub"]
    assert (health.state, health.canary_seen) == (State.DOWN, True)
    assert watching.backends.probed[-2:] == ["hub", "ghcr"], "and it is asked in the new way at once"


def test_a_route_that_is_new_goes_on_with_who_was_in_charge() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(1)
    watching.backends.answer("hub", GOOD)
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.active == "ghcr"
    watching.advance(61)
    assert watching.active == "hub"


def test_pulls_that_another_registry_grants_are_not_shown_of_a_new_one() -> None:
    watching = up("hub", "ghcr")
    watching.watch.quotas.note("hub", "address", Quota(0))
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"hub": "https://elsewhere.test"}))
    assert watching.watch.quotas.of("hub") == {}


def test_a_limited_backend_that_is_up_for_a_moment_keeps_its_time_for_redirects() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(1)
    watching.backends.answer("hub", GOOD)
    for verdict in (Verdict.LIMITED, Verdict.GOOD, Verdict.GOOD, Verdict.LIMITED, Verdict.GOOD, Verdict.GOOD):
        watching.advance(10)
        watching.backends.answer("hub", evolve(GOOD, verdict=verdict))
    watching.advance(1)
    assert watching.routing.redirecting == ("hub",)
    assert watching.routing.serving == ("ghcr",)


def test_that_a_backend_has_had_the_canary_is_worth_keeping_though_no_news() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    assert watching.silent == 1


def test_what_is_decided_by_a_hint_is_decided_by_probes_alone() -> None:
    watching = up("hub", "ghcr")
    for _ in range(100):
        watching.watch.probe_soon("hub")
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    assert watching.active == "hub"


def test_a_clock_that_jumps_has_every_backend_probed_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.advance(2)
    watching.step = 29
    watching.advance(2)
    asked = len(watching.backends.probed)
    watching.step = 3600
    watching.advance(1.1)
    assert sorted(watching.backends.probed[asked:]) == ["ghcr", "hub"]
    assert watching.news[-1] == "the clock has gone 1 h forward: every backend is probed"
    watching.backends.answer("hub", GOOD)
    watching.backends.answer("ghcr", GOOD)
    watching.step = 3500
    watching.advance(1.1)
    assert sorted(watching.backends.probed[asked + 2 :]) == ["ghcr", "hub"]
    assert watching.news[-1] == "the clock has gone 2 min back: every backend is probed"


def test_a_pin_is_in_force_at_once_and_ends_by_itself() -> None:
    watching = up("hub", "ghcr")
    watching.advance(1)
    watching.news.clear()
    watching.watch.pin("ghcr", 3)
    assert watching.active == "ghcr"
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)
    assert watching.watch.snapshot().explain() == "ghcr is active: it is pinned for another 3 s"
    watching.advance(3.1)
    assert watching.news == ["ghcr is pinned; ghcr is active", "ghcr is no longer pinned; ghcr is active"]
    watching.advance(60)
    assert watching.active == "hub"
    assert watching.watch.watch_state.overrides == Overrides()


def test_a_pin_stays_when_what_is_pinned_goes_down_and_serving_has_the_others() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("hub", None)
    fail(watching, "hub")
    assert watching.active == "hub"
    assert watching.watch.snapshot().explain() == "hub is active: it is pinned, although it is down"


def test_a_drained_backend_is_left_and_said_to_be_drained() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True, drained=frozenset({"hub"}))
    watching.watch.undrain("hub")
    watching.advance(61)
    assert watching.active == "hub"


def test_a_contradiction_changes_nothing() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    before = watching.watch.watch_state
    with pytest.raises(ContradictionError):
        watching.watch.pin("hub", None)
    assert watching.watch.watch_state == before


def test_a_reload_keeps_pins_and_drains_of_backends_that_there_still_are() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("ghcr", None)
    watching.watch.drain("hub", 60)
    before = watching.watch.watch_state.overrides
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.watch.watch_state.overrides == before
    watching.watch.reconfigure(watching.backends.plan("hub", "quay"))
    assert watching.watch.watch_state.overrides == evolve(before, pins={})
    assert "ghcr is no longer pinned; quay is active" in watching.news


def test_drift_is_said_when_it_comes_and_when_it_goes() -> None:
    watching = up("hub", "ghcr")
    watching.news.clear()
    watching.advance(10)
    one, other = Canary(True, "sha256:" + "a" * 64), Canary(True, "sha256:" + "b" * 64)
    watching.backends.answer("hub", evolve(GOOD, canary=one))
    watching.backends.answer("ghcr", evolve(GOOD, canary=other))
    watching.advance(10)
    watching.backends.answer("ghcr", evolve(GOOD, canary=other))
    watching.advance(10)
    watching.backends.answer("ghcr", evolve(GOOD, canary=one))
    assert watching.news == [
        "ghcr drifts: its canary is sha256:bbbbbbbbbbbb, but hub has sha256:aaaaaaaaaaaa; hub is active",
        "ghcr no longer drifts; hub is active",
    ]


def test_the_pulls_that_are_left_are_known() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, quota=Quota(76, 100, 21600)))
    watching.watch.quotas.note("hub", "account", Quota(199, 200, 21600))
    left = {asker: seen[0].remaining for asker, seen in watching.watch.quotas.of("hub").items()}
    assert left == {"address": 76, "account": 199}


def test_a_change_is_pushed_as_one_value_with_all_that_follows_from_it() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    route = ("hub", "ghcr")
    assert watching.changes[-1] == Change(
        watching.clock.seconds(),
        "hub is down (GET /v2/: connection refused); ghcr is active",
        (Transition("hub", State.UP, State.DOWN, "GET /v2/: connection refused"),),
        (
            Takeover((route, Purpose.REDIRECT), "hub", "ghcr"),
            Takeover((route, Purpose.SERVE), "hub", "ghcr"),
        ),
        watching.watch.watch_state,
        RoutingState(("ghcr",), ("ghcr",), handover=True),
    )


def test_another_one_that_serves_is_pushed_though_it_is_no_news() -> None:
    watching = up("hub", "ghcr", failback_after=3)
    watching.advance(10)
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    told = len(watching.news)
    watching.advance(3.1)
    assert watching.changes[-1].routing.serving == ("hub",)
    assert [each.place[1] for each in watching.changes[-1].takeovers] == [Purpose.SERVE]
    assert len(watching.news) == told


def fall_over(change: Change) -> None:
    raise ValueError("fell over")


def test_a_subscriber_that_fails_keeps_no_other_from_hearing(no_errors_are_logged: list[LogEvent]) -> None:
    watching = Watching.begin("hub")
    heard: list[Change] = []
    watching.watch.subscribe(fall_over)
    watching.watch.subscribe(heard.append)
    watching.backends.answer("hub", GOOD)
    assert heard == watching.changes != []
    assert len(no_errors_are_logged) == len(heard)
    no_errors_are_logged.clear()


KINDS = [(Verdict.GOOD, Step.BLOB), (Verdict.LIMITED, Step.MANIFEST), *((Verdict.BAD, step) for step in Step)]


@pytest.mark.parametrize(("verdict", "step"), KINDS)
def test_with_the_defaults_no_backend_is_asked_more_than_22_requests_a_minute_well_limited_or_dead(
    verdict: Verdict, step: Step
) -> None:
    watching, asked, minutes = Watching.begin("hub"), 0, 20
    for _ in range(minutes * 600):
        if "hub" in watching.backends.waiting:
            deep = watching.backends.depths["hub"][-1].deep
            climbed = Step.BLOB if deep else Step.MANIFEST
            fails = verdict is not Verdict.BAD or REQUESTS[step] <= REQUESTS[climbed]
            found = Result(verdict if fails else Verdict.GOOD, step if fails else climbed, "", 0.0, deep=deep)
            found = evolve(found, requests=REQUESTS[step if verdict is Verdict.BAD and fails else climbed])
            asked += found.requests
            watching.backends.answer("hub", found)
        watching.clock.advance(0.1)
    assert 5 < asked / minutes <= 22
