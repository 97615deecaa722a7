"""Handovers: which changes of a plan or a restart begin one, and when it ends."""

from attrs import evolve

from facaded.policy.decision import RoutingState
from facaded.policy.health import restore
from facaded.policy.watch_state import FORGOTTEN, WatchState
from tests.watching import BAD, GOOD, Watching, fail, up


def test_a_handover_begins_when_a_redirect_leads_elsewhere_and_ends_in_time() -> None:
    watching = up("hub", "ghcr")
    assert not watching.routing.handover
    fail(watching, "hub")
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)
    watching.clock.advance(3599)
    assert watching.routing.handover
    watching.clock.advance(1)
    assert not watching.routing.handover


def test_a_reload_that_puts_another_in_charge_begins_a_handover() -> None:
    watching = up("hub", "ghcr")
    watching.advance(120)
    watching.backends.answer("hub", GOOD)
    watching.backends.answer("ghcr", GOOD)
    watching.watch.reconfigure(watching.backends.plan("ghcr", "hub"))
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_the_first_round_is_no_handover() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=False)


def restarted(before: Watching, *names: str) -> Watching:
    """Another run that knows what the last one knew."""
    kept = before.watch.watch_state
    kept = evolve(kept, healths={name: restore(each) for name, each in kept.healths.items()})
    return Watching.begin(*names, saved=kept)


def test_a_failover_that_a_restart_finds_begins_a_handover() -> None:
    after = restarted(up("hub", "ghcr"), "hub", "ghcr")
    after.backends.answer("hub", BAD)
    after.backends.answer("ghcr", GOOD)
    assert after.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_a_restart_that_changes_nothing_begins_none() -> None:
    after = restarted(up("hub", "ghcr"), "hub", "ghcr")
    after.backends.answer("hub", GOOD)
    after.backends.answer("ghcr", GOOD)
    assert not after.routing.handover


def test_a_restart_with_other_settings_begins_one() -> None:
    after = restarted(up("hub", "ghcr"), "ghcr", "hub")
    after.backends.answer("hub", GOOD)
    after.backends.answer("ghcr", GOOD)
    assert after.active == "hub", "the first one has just been found up"
    after.advance(60)
    assert after.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_a_state_that_cannot_be_read_any_more_begins_one() -> None:
    assert up("hub", "ghcr", saved=WatchState({}, {}, last_ping_target=FORGOTTEN)).routing.handover


def test_a_reload_after_which_a_ping_leads_elsewhere_begins_one_although_the_same_backend_is_in_charge() -> None:
    watching = up("hub", "ghcr")
    watching.watch.reconfigure(evolve(watching.backends.plan("hub", "ghcr"), ping_target=lambda _: "here"))
    assert watching.routing.handover


def test_pins_and_drains_outlive_a_restart() -> None:
    before = up("hub", "ghcr")
    before.watch.pin("ghcr", None)
    before.watch.drain("hub", None)
    after = restarted(before, "hub", "ghcr")
    assert after.active == "ghcr"
    assert after.watch.watch_state.overrides == before.watch.watch_state.overrides


def test_the_end_of_a_handover_is_pushed_when_it_comes() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    watching.clock.advance(3599)
    assert watching.changes[-1].routing.handover
    watching.clock.advance(1)
    assert (watching.changes[-1].news, watching.changes[-1].transitions, watching.changes[-1].takeovers) == ("", (), ())
    assert not watching.changes[-1].routing.handover


def test_a_handover_of_an_earlier_run_may_end_before_the_first_round_does() -> None:
    kept = WatchState({}, {}, last_ping_target="hub", ping_target_changed_at=-3599.0)
    watching = Watching.begin("hub", "ghcr", saved=kept)
    assert watching.routing.handover
    watching.clock.advance(1)
    assert not watching.watch.settled
    assert [change.routing.handover for change in watching.changes] == [False]
