"""Handovers: which changes start one, and when it ends."""

from attrs import evolve

from facaded.policy.decision import RoutingState
from facaded.policy.health import Rank, restore
from facaded.policy.watch_state import FORGOTTEN, WatchState
from tests.watching import BAD, GOOD, Watching, fail, up


def test_a_failover_starts_a_handover_that_ends_after_its_time() -> None:
    watching = up("hub", "ghcr")
    assert not watching.routing.handover
    fail(watching, "hub")
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True, ranks={"hub": Rank.DOWN})
    watching.clock.advance(3599)
    assert watching.routing.handover
    watching.clock.advance(1)
    assert not watching.routing.handover


def test_a_reload_that_changes_the_active_backend_starts_a_handover() -> None:
    watching = up("hub", "ghcr")
    watching.advance(120)
    watching.backends.answer("hub", GOOD)
    watching.backends.answer("ghcr", GOOD)
    watching.watch.reconfigure(watching.backends.plan("ghcr", "hub"))
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_the_first_round_starts_no_handover() -> None:
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    assert watching.routing == RoutingState(("ghcr",), ("ghcr",), handover=False, ranks={"hub": Rank.DOWN})


def restart(before: Watching, *names: str) -> Watching:
    """Start another run with the state of the last one."""
    state = before.watch.watch_state
    state = evolve(state, healths={name: restore(health) for name, health in state.healths.items()})
    return Watching.begin(*names, saved=state)


def test_a_failover_after_a_restart_starts_a_handover() -> None:
    after = restart(up("hub", "ghcr"), "hub", "ghcr")
    after.backends.answer("hub", BAD)
    after.backends.answer("ghcr", GOOD)
    assert after.routing == RoutingState(("ghcr",), ("ghcr",), handover=True, ranks={"hub": Rank.DOWN})


def test_a_restart_that_changes_nothing_starts_no_handover() -> None:
    after = restart(up("hub", "ghcr"), "hub", "ghcr")
    after.backends.answer("hub", GOOD)
    after.backends.answer("ghcr", GOOD)
    assert not after.routing.handover


def test_a_restart_with_another_order_of_backends_starts_a_handover() -> None:
    after = restart(up("hub", "ghcr"), "ghcr", "hub")
    after.backends.answer("hub", GOOD)
    after.backends.answer("ghcr", GOOD)
    assert after.active == "hub", "failback_after has not passed"
    after.advance(60)
    assert after.routing == RoutingState(("ghcr",), ("ghcr",), handover=True)


def test_an_unreadable_state_starts_a_handover() -> None:
    assert up("hub", "ghcr", saved=WatchState({}, {}, last_ping_target=FORGOTTEN)).routing.handover


def test_a_reload_that_changes_only_the_target_of_pings_starts_a_handover() -> None:
    watching = up("hub", "ghcr")
    watching.watch.reconfigure(evolve(watching.backends.plan("hub", "ghcr"), ping_target=lambda _: "here"))
    assert watching.routing.handover


def test_pins_and_drains_outlive_a_restart() -> None:
    before = up("hub", "ghcr")
    before.watch.pin("ghcr", None)
    before.watch.drain("hub", None)
    after = restart(before, "hub", "ghcr")
    assert after.active == "ghcr"
    assert after.watch.watch_state.overrides == before.watch.watch_state.overrides


def test_the_end_of_a_handover_is_pushed() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    watching.clock.advance(3599)
    assert watching.changes[-1].routing.handover
    watching.clock.advance(1)
    assert (watching.changes[-1].news, watching.changes[-1].transitions, watching.changes[-1].takeovers) == ("", (), ())
    assert not watching.changes[-1].routing.handover


def test_a_handover_of_an_earlier_run_may_end_during_the_first_round() -> None:
    state = WatchState({}, {}, last_ping_target="hub", ping_target_changed_at=-3599.0)
    watching = Watching.begin("hub", "ghcr", saved=state)
    assert watching.routing.handover
    watching.clock.advance(1)
    assert not watching.watch.settled
    assert [change.routing.handover for change in watching.changes] == [False]
