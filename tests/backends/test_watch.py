"""The watch: first round, detection times, failback, news, and a plan that changes under it."""

from attrs import evolve

from facaded.backends.watch import FIRST_ROUND, Standing
from facaded.policy.answers import Situation
from facaded.policy.failover import Charge
from facaded.policy.health import Health, Purpose, State, Verdict
from tests.watching import BAD, GOOD, Watching


def up(*names: str, failback_after: float = 60, kept: Standing | None = None) -> Watching:
    """A watch whose first round found every backend up."""
    watching = Watching.begin(*names, failback_after=failback_after, kept=kept)
    for name in names:
        watching.backends.answer(name, GOOD)
    return watching


def fail(watching: Watching, name: str) -> None:
    """Two probes in a row find the backend gone."""
    watching.advance(10)
    watching.backends.answer(name, BAD)
    watching.advance(1)
    watching.backends.answer(name, BAD)


def test_the_first_round_is_over_when_every_backend_has_answered() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.backends.answer("hub", GOOD)
    assert not settled.called
    watching.backends.answer("ghcr", GOOD)
    assert settled.called
    assert watching.watch.when_settled().called
    assert watching.in_charge == "hub"


def test_one_bad_result_in_the_first_round_keeps_the_first_answer_away() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    assert watching.watch.settled
    assert watching.in_charge == "ghcr"


def test_a_backend_without_a_result_by_the_end_of_the_first_round_is_down_if_another_is_up() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("ghcr", GOOD)
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.in_charge == "ghcr"
    assert "no answer within 3 s" in watching.watch.explain()


def test_without_any_result_the_first_one_is_asked() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.advance(FIRST_ROUND)
    assert watching.watch.settled
    assert watching.in_charge == "hub"
    assert watching.watch.standing.healths["hub"].state is State.UNKNOWN


def test_a_state_that_was_kept_is_gone_by_until_it_is_refuted() -> None:
    kept = Standing(
        {"hub": Health(State.DOWN, -100), "ghcr": Health(State.UNKNOWN, -100)},
        {(("hub", "ghcr"), Purpose.REDIRECT): Charge("ghcr", -100)},
    )
    watching = up("hub", "ghcr", kept=kept)
    assert watching.in_charge == "ghcr"
    watching.advance(1)
    watching.backends.answer("hub", GOOD)
    assert watching.watch.standing.healths["hub"].state is State.UP
    assert watching.in_charge == "ghcr"
    watching.advance(60)
    assert watching.in_charge == "hub"


def test_a_kept_charge_of_a_backend_that_is_gone_from_the_settings_is_forgotten() -> None:
    kept = Standing({"gone": Health(State.UP, -100)}, {(("hub", "ghcr"), Purpose.REDIRECT): Charge("gone", -100)})
    assert up("hub", "ghcr", kept=kept).in_charge == "hub"


def test_a_backend_that_fails_is_left_after_fall_results_and_said_so_in_one_line() -> None:
    watching = up("hub", "ghcr")
    watching.news.clear()
    watching.advance(10)
    watching.backends.answer("hub", BAD)
    assert watching.in_charge == "hub"
    watching.advance(1)
    watching.backends.answer("hub", BAD)
    assert watching.in_charge == "ghcr"
    assert watching.news == ["hub down (GET /v2/: connection refused); ghcr in charge"]


def test_failback_comes_when_it_is_due_and_not_only_at_the_next_probe() -> None:
    watching = up("hub", "ghcr", failback_after=3)
    fail(watching, "hub")
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    watching.advance(1)
    watching.news.clear()
    watching.backends.answer("hub", GOOD)
    assert watching.news == ["hub up; ghcr in charge"]
    watching.advance(2.9)
    assert watching.in_charge == "ghcr"
    watching.advance(0.2)
    assert watching.in_charge == "hub"
    assert watching.news[1:] == ["hub is in charge: it is the first and up"]


def test_a_plan_that_keeps_a_backend_keeps_what_is_known_of_it() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    before = watching.watch.standing.healths["hub"]
    asked = len(watching.backends.asked)
    watching.watch.replan(watching.backends.plan("hub", "ghcr", "quay"))
    assert watching.watch.standing.healths["hub"] == before
    assert watching.backends.asked[asked:] == ["quay"]
    assert watching.in_charge == "ghcr"


def test_a_plan_with_another_place_for_a_backend_forgets_what_was_known_of_it() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.watch.replan(watching.backends.plan("hub", "ghcr", urls={"hub": "elsewhere"}))
    assert watching.watch.standing.healths["hub"].state is State.UNKNOWN
    watching.backends.answer("hub", GOOD)
    assert watching.in_charge == "ghcr", "failback still takes its time"


def test_a_plan_with_other_times_begins_to_go_by_them_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.advance(5)
    asked = len(watching.backends.asked)
    plan = watching.backends.plan("hub", "ghcr")
    watching.watch.replan(evolve(plan, settings=evolve(plan.settings, interval=2)))
    assert watching.backends.asked[asked:] == ["hub", "ghcr"]
    assert watching.watch.standing.healths["hub"].state is State.UP
    for name in ("hub", "ghcr"):
        watching.backends.answer(name, GOOD)
    watching.advance(2)
    assert len(watching.backends.asked) == asked + 4


def test_a_plan_without_the_one_in_charge_puts_another_in_charge_at_once() -> None:
    watching = up("hub", "ghcr")
    watching.watch.replan(watching.backends.plan("ghcr"))
    assert watching.in_charge == "ghcr"
    assert "hub" not in watching.watch.standing.healths


def test_the_result_of_a_probe_that_the_plan_has_dropped_is_not_heard() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    dropped = watching.backends.waiting["ghcr"]
    watching.watch.replan(watching.backends.plan("hub"))
    assert dropped.called, "cancelled"
    assert set(watching.watch.standing.healths) == {"hub"}


def test_a_stop_cancels_the_probes_and_lets_waiting_requests_go() -> None:
    watching = Watching.begin("hub", "ghcr")
    settled = watching.watch.when_settled()
    watching.watch.stopService()
    assert settled.called
    assert sorted(watching.backends.cancelled) == ["ghcr", "hub"]
    assert watching.clock.getDelayedCalls() == []


def test_a_handover_begins_when_a_redirect_leads_elsewhere_and_ends_in_time() -> None:
    watching = up("hub", "ghcr")
    assert not watching.watch.situation().handover
    fail(watching, "hub")
    assert watching.watch.situation() == Situation(("ghcr",), ("ghcr",), handover=True)
    watching.clock.advance(3599)
    assert watching.watch.situation().handover
    watching.clock.advance(1)
    assert not watching.watch.situation().handover


def test_a_reload_that_puts_another_in_charge_begins_a_handover() -> None:
    watching = up("hub", "ghcr")
    watching.advance(120)
    watching.backends.answer("hub", GOOD)
    watching.backends.answer("ghcr", GOOD)
    watching.watch.replan(watching.backends.plan("ghcr", "hub"))
    assert watching.watch.situation() == Situation(("ghcr",), ("ghcr",), handover=True)


def test_the_first_round_is_no_handover() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    assert watching.watch.situation() == Situation(("ghcr",), ("ghcr",), handover=False)


def test_a_limited_backend_keeps_the_redirects_and_loses_the_serving() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LIMITED))
    assert watching.watch.situation() == Situation(("hub",), ("ghcr",))


def test_a_failed_request_hastens_the_next_probe_but_not_twice_in_a_second() -> None:
    watching = up("hub", "ghcr")
    asked = len(watching.backends.asked)
    watching.watch.probe_now("hub")
    assert len(watching.backends.asked) == asked, "probed just now"
    watching.clock.advance(1)
    watching.watch.probe_now("hub")
    watching.watch.probe_now("hub")
    watching.watch.probe_now("nowhere")
    assert watching.backends.asked[asked:] == ["hub"]
    watching.backends.answer("hub", GOOD)
    watching.watch.probe_now("hub")
    assert watching.backends.asked[asked:] == ["hub"]
