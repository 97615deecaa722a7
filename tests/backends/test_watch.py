"""The watch: first round, detection times, failback, pins and drains, news, and new plans."""

import pytest
from attrs import evolve
from twisted.logger import LogEvent

from facaded.backends.watch import FIRST_ROUND
from facaded.policy.changes import Change, Takeover, Transition
from facaded.policy.decision import RoutingState
from facaded.policy.events import Event, EventKind, Reason, Severity
from facaded.policy.evidence import Attempt
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Canary, Health, Purpose, Quota, Rank, Result, State, Step, Verdict
from facaded.policy.overrides import ContradictionError, Overrides
from facaded.policy.watch_state import WatchState
from tests.watching import BAD, GOOD, Watching, fail, up

REQUESTS = {Step.PING: 1, Step.TOKEN: 2, Step.MANIFEST: 3, Step.BODY: 4, Step.BLOB: 4, Step.CDN: 5}
"""Requests of a probe up to each step; the last step sends two, one of them to the CDN."""


def test_the_first_round_ends_when_every_backend_has_a_result() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.backends.answer("hub", GOOD)
    assert not settled.called
    watching.backends.answer("ghcr", GOOD)
    assert settled.called
    assert watching.watch.when_settled().called
    assert watching.active == "hub"


def test_one_bad_result_in_the_first_round_is_enough_for_a_failover() -> None:
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
    assert "no response within 3 s" in watching.watch.snapshot().explain()


def test_a_backend_that_has_begun_to_answer_is_not_down_after_the_first_round() -> None:
    watching = Watching.begin("main", "second")
    watching.backends.answer("second", GOOD)
    watching.backends.proofs["main"].note_pass(2.0, Step.PING)
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.watch.watch_state.healths["main"].state is State.UNKNOWN
    assert watching.active == "main"


def test_without_any_result_the_first_backend_is_active() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.active == "hub"
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN


def test_the_state_of_an_earlier_run_applies_until_probes_change_it() -> None:
    state = WatchState(
        {"hub": Health(State.DOWN, -100), "ghcr": Health(State.UNKNOWN, -100)},
        {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", -100)},
    )
    watching = up("hub", "ghcr", saved=state)
    assert watching.active == "ghcr"
    watching.advance(1)
    watching.backends.answer("hub", GOOD)
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    assert watching.active == "ghcr"
    watching.advance(60)
    assert watching.active == "hub"


def test_an_active_backend_of_an_earlier_run_that_was_removed_is_ignored() -> None:
    state = WatchState(
        {"quay": Health(State.UP, -100)}, {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("quay", -100)}
    )
    assert up("hub", "ghcr", saved=state).active == "hub"


def test_a_failover_comes_after_fall_bad_results_and_is_one_line_of_news() -> None:
    watching = up("hub", "ghcr")
    watching.news.clear()
    watching.advance(10)
    watching.backends.answer("hub", BAD)
    assert watching.active == "hub"
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    assert watching.active == "ghcr"
    assert watching.news == ["hub is down (GET /v2/: connection refused); ghcr is active"]


def test_failback_does_not_wait_for_the_next_probe() -> None:
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


def test_a_backend_in_both_plans_keeps_its_state() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    health = watching.watch.watch_state.healths["hub"]
    before = len(watching.backends.probed)
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.watch.watch_state.healths["hub"] == health
    assert watching.backends.probed[before:] == ["quay"]
    assert watching.active == "ghcr"


def test_a_backend_with_a_new_url_loses_its_state() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"hub": "elsewhere"}))
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN
    watching.backends.answer("hub", GOOD)
    assert watching.active == "ghcr", "failback still waits"


def test_new_intervals_apply_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.advance(5)
    before = len(watching.backends.probed)
    plan = watching.backends.plan("hub", "ghcr")
    watching.watch.reconfigure(evolve(plan, settings=evolve(plan.settings, interval=2)))
    assert watching.backends.probed[before:] == ["hub", "ghcr"]
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    for name in ("hub", "ghcr"):
        watching.backends.answer(name, GOOD)
    watching.advance(2)
    assert len(watching.backends.probed) == before + 4


def test_a_plan_without_the_active_backend_activates_another_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.watch.reconfigure(watching.backends.plan("ghcr"))
    assert watching.active == "ghcr"
    assert "hub" not in watching.watch.watch_state.healths


def test_the_probe_of_a_removed_backend_is_cancelled() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    dropped = watching.backends.waiting["ghcr"]
    watching.watch.reconfigure(watching.backends.plan("hub"))
    assert dropped.called, "cancelled"
    assert set(watching.watch.watch_state.healths) == {"hub"}


def test_a_stop_cancels_the_probes_and_releases_waiting_requests() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.watch.stopService()
    assert settled.called
    assert sorted(watching.backends.cancelled) == ["ghcr", "hub"]
    assert watching.clock.getDelayedCalls() == []


def test_a_limited_backend_is_redirected_to_but_not_served_from() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    assert watching.routing == RoutingState(("hub",), ("ghcr",), ranks={"hub": Rank.LIMITED})


def test_a_failed_request_makes_the_next_probe_early_and_deep() -> None:
    watching = up("hub", "ghcr")
    watching.advance(5)
    before = len(watching.backends.probed)
    watching.watch.probe_soon("hub")
    watching.watch.probe_soon("nowhere")
    watching.clock.advance(0)
    assert watching.backends.probed[before:] == ["hub"]
    assert watching.backends.depths["hub"][-1].deep
    watching.backends.answer("hub", evolve(GOOD, deep=True))
    watching.advance(10)
    assert not watching.backends.depths["hub"][-1].deep


def test_a_backend_that_is_down_is_not_probed_before_its_retry_after() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", evolve(BAD, retry_after=60))
    watching.backends.answer("ghcr", GOOD)
    watching.advance(2)
    before = watching.backends.probed.count("hub")
    watching.watch.probe_soon("hub")
    watching.advance(57)
    assert watching.backends.probed.count("hub") == before
    watching.advance(2)
    assert watching.backends.probed.count("hub") == before + 1


def test_a_limited_backend_is_probed_early_because_it_is_redirected_to() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    watching.backends.answer("ghcr", GOOD)
    watching.advance(2)
    watching.watch.probe_soon("hub")
    watching.clock.advance(0)
    watching.backends.answer("hub", BAD)
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    assert watching.active == "ghcr"


def test_a_backend_that_is_probed_in_another_way_keeps_what_it_keeps_over_a_restart() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    watching.advance(10)
    watching.backends.answer("hub", BAD)
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    plan = watching.backends.plan("hub", "ghcr")
    slower = {name: evolve(backend, manner=("5 s",)) for name, backend in plan.backends.items()}
    watching.watch.reconfigure(evolve(plan, backends=slower))
    assert watching.active == "ghcr"
    health = watching.watch.watch_state.healths["hub"]
    assert (health.state, health.canary_seen) == (State.DOWN, True)
    assert watching.backends.probed[-2:] == ["hub", "ghcr"], "both are probed at once"


def test_a_new_route_starts_with_the_active_backend_of_the_old_one() -> None:
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


def test_a_backend_with_a_new_url_loses_its_quotas() -> None:
    watching = up("hub", "ghcr")
    watching.watch.quotas.note("hub", "address", Quota(0))
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"hub": "https://elsewhere.test"}))
    assert watching.watch.quotas.of("hub") == {}


def test_a_limited_backend_does_not_restart_the_failback_time_of_redirects() -> None:
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


def test_the_first_canary_of_a_backend_is_pushed_without_news() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True)))
    assert watching.silent == 1


def test_failed_requests_alone_do_not_change_a_state() -> None:
    watching = up("hub", "ghcr")
    for _ in range(100):
        watching.watch.probe_soon("hub")
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    assert watching.active == "hub"


def test_a_clock_jump_probes_all_backends_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.advance(2)
    watching.step = 29
    watching.advance(2)
    before = len(watching.backends.probed)
    watching.step = 3600
    watching.advance(1.1)
    assert sorted(watching.backends.probed[before:]) == ["ghcr", "hub"]
    assert watching.news[-1] == "the clock jumped forward by 1 h: probing all backends"
    watching.backends.answer("hub", GOOD)
    watching.backends.answer("ghcr", GOOD)
    watching.step = 3500
    watching.advance(1.1)
    assert sorted(watching.backends.probed[before + 2 :]) == ["ghcr", "hub"]
    assert watching.news[-1] == "the clock jumped back by 2 min: probing all backends"


def test_a_pin_applies_at_once_and_expires() -> None:
    watching = up("hub", "ghcr")
    watching.advance(1)
    watching.news.clear()
    watching.watch.pin("ghcr", 3)
    assert watching.active == "ghcr"
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True, pinned="ghcr")
    assert watching.watch.snapshot().explain() == "ghcr is active: it is pinned for another 3 s"
    watching.advance(3.1)
    assert watching.news == ["ghcr is pinned; ghcr is active", "ghcr is no longer pinned; ghcr is active"]
    watching.advance(60)
    assert watching.active == "hub"
    assert watching.watch.watch_state.overrides == Overrides()


def test_a_pinned_backend_stays_active_when_it_goes_down() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("hub", None)
    fail(watching, "hub")
    assert watching.active == "hub"
    assert watching.watch.snapshot().explain() == "hub is active: it is pinned, although it is down"


def test_a_drained_backend_is_not_active() -> None:
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


def test_a_reload_keeps_the_pins_and_drains_of_backends_that_remain() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("ghcr", None)
    watching.watch.drain("hub", 60)
    before = watching.watch.watch_state.overrides
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.watch.watch_state.overrides == before
    watching.watch.reconfigure(watching.backends.plan("hub", "quay"))
    assert watching.watch.watch_state.overrides == evolve(before, pins={})
    assert "ghcr is no longer pinned; quay is active" in watching.news


def test_the_start_and_the_end_of_drift_are_news() -> None:
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


def test_quotas_come_from_probes_and_from_served_requests() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, quota=Quota(76, 100, 21600)))
    watching.watch.quotas.note("hub", "account", Quota(199, 200, 21600))
    left = {owner: entry[0].remaining for owner, entry in watching.watch.quotas.of("hub").items()}
    assert left == {"address": 76, "account": 199}


def test_a_change_is_pushed_as_one_value() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    route = ("hub", "ghcr")
    assert watching.changes[-1] == Change(
        watching.clock.seconds(),
        "hub is down (GET /v2/: connection refused); ghcr is active",
        Severity.WARNING,
        (
            Event(EventKind.DOWN, Severity.WARNING, "hub is down (GET /v2/: connection refused)", "hub"),
            Event(
                EventKind.FAILOVER,
                Severity.WARNING,
                "ghcr is active: hub is down (GET /v2/: connection refused)",
                "ghcr",
            ),
        ),
        (Transition("hub", State.UP, State.DOWN, "GET /v2/: connection refused"),),
        (
            Takeover((route, Purpose.REDIRECT), "hub", "ghcr", Reason.DOWN),
            Takeover((route, Purpose.SERVE), "hub", "ghcr", Reason.DOWN),
        ),
        watching.watch.watch_state,
        RoutingState(("ghcr",), ("ghcr",), handover=True, ranks={"hub": Rank.DOWN}),
    )


def test_another_backend_for_serving_is_pushed_without_news() -> None:
    watching = up("hub", "ghcr", failback_after=3)
    watching.advance(10)
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    before = len(watching.news)
    watching.advance(3.1)
    assert watching.changes[-1].routing.serving == ("hub",)
    assert [takeover.place[1] for takeover in watching.changes[-1].takeovers] == [Purpose.SERVE]
    assert len(watching.news) == before


def raise_error(change: Change) -> None:
    raise ValueError("a bug")


def test_an_error_in_a_subscriber_does_not_affect_the_others(no_errors_are_logged: list[LogEvent]) -> None:
    watching = Watching.begin("hub")
    changes: list[Change] = []
    watching.watch.subscribe(raise_error)
    watching.watch.subscribe(changes.append)
    watching.backends.answer("hub", GOOD)
    assert changes == watching.changes != []
    assert len(no_errors_are_logged) == len(changes)
    no_errors_are_logged.clear()


KINDS = [(Verdict.GOOD, Step.BLOB), (Verdict.LIMITED, Step.MANIFEST), *((Verdict.BAD, step) for step in Step)]


@pytest.mark.parametrize(("verdict", "step"), KINDS)
def test_probes_send_at_most_22_requests_a_minute_with_the_defaults(verdict: Verdict, step: Step) -> None:
    watching, requests, minutes = Watching.begin("hub"), 0, 20
    for _ in range(minutes * 600):
        if "hub" in watching.backends.waiting:
            depth = watching.backends.depths["hub"][-1]
            deep, climbed = depth.deep, Step.CDN if depth.deep else Step.BODY if depth.body else Step.MANIFEST
            reached = depth.body if step is Step.BODY else REQUESTS[step] <= REQUESTS[climbed]
            fails = verdict is not Verdict.BAD or reached
            result = Result(verdict if fails else Verdict.GOOD, step if fails else climbed, "", 0.0, deep=deep)
            result = evolve(result, requests=REQUESTS[step if verdict is Verdict.BAD and fails else climbed])
            requests += result.requests
            watching.backends.answer("hub", result)
        watching.clock.advance(0.1)
    assert 5 < requests / minutes <= 22


def test_the_limit_of_samples_follows_a_backend_s_url() -> None:
    watching = up("a", "b")
    attempt = Attempt("a", Step.BODY, False, "org/app", "192.0.2.1")
    watching.watch.report(attempt)
    watching.watch.reconfigure(watching.backends.plan("a", "b", urls={"a": "b", "b": "a"}))
    for name in ("a", "b"):
        watching.watch.report(evolve(attempt, backend=name))
    healths = watching.watch.watch_state.healths
    counts = {name: healths[name].samples.count(Step.BODY, watching.clock.seconds(), 60).sent for name in ("a", "b")}
    assert counts == {"a": 1, "b": 1}
