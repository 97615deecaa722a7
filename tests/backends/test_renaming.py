"""Backends that are renamed, swapped or removed by a reload, and overrides over a suspend."""

from attrs import evolve

from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Canary, Purpose, Quota, State, Step
from facaded.policy.overrides import Override, Overrides
from tests.watching import BAD, GOOD, fail, up

MAIN = {"main": "hub"}
"""The URLs after "hub" has been renamed."""
SWAPPED = {"hub": "ghcr", "ghcr": "hub"}


def test_a_renamed_active_backend_stays_active_with_its_health() -> None:
    watching = up("hub", "ghcr")
    before, since = watching.watch.watch_state.healths["hub"], watching.watch.snapshot().active.since
    watching.news.clear()
    watching.watch.reconfigure(watching.backends.plan("main", "ghcr", urls=MAIN))
    assert watching.watch.snapshot().active == ActiveBackend("main", since)
    assert watching.watch.watch_state.healths["main"] == before
    assert watching.news == []
    assert not watching.routing.handover, "GET /v2/ leads to the same URL"
    assert (watching.changes[-1].takeovers, watching.changes[-1].transitions) == ((), ())


def test_a_renamed_backend_keeps_its_relapses_and_the_second_stays_active() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    before = watching.watch.watch_state.healths["hub"]
    watching.watch.reconfigure(watching.backends.plan("main", "second", urls={"main": "hub", "second": "ghcr"}))
    assert watching.watch.watch_state.healths["main"] == before
    assert watching.active == "second"
    watching.backends.answer("main", GOOD)
    watching.advance(1)
    watching.backends.answer("main", GOOD)
    assert watching.active == "second", "failback still waits"


def test_a_renamed_backend_keeps_its_drain_or_its_pin() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", 60)
    watching.watch.pin("ghcr", None)
    overrides = watching.watch.watch_state.overrides
    watching.news.clear()
    watching.watch.reconfigure(watching.backends.plan("main", "second", urls={"main": "hub", "second": "ghcr"}))
    assert watching.watch.watch_state.overrides == Overrides(
        {"second": overrides.pins["ghcr"]}, {"main": overrides.drains["hub"]}
    )
    assert watching.news == [], "nothing was pinned or drained by the reload"
    watching.watch.unpin()
    watching.advance(60)
    assert watching.news[-1].startswith("main is no longer drained")


def test_a_drain_does_not_pass_to_another_url_under_the_same_name() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    watching.news.clear()
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"hub": "elsewhere"}))
    assert watching.watch.watch_state.overrides == Overrides()
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN
    assert watching.news == ["hub is unknown; hub is no longer drained; ghcr is active"]


def test_a_pin_does_not_pass_to_another_url_under_the_same_name() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("ghcr", None)
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls={"ghcr": "elsewhere"}))
    assert watching.watch.watch_state.overrides == Overrides()
    assert watching.active == "hub"


def test_a_drain_does_not_pass_to_a_renamed_backend_that_takes_the_name() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    watching.watch.reconfigure(watching.backends.plan("hub", urls={"hub": "ghcr"}))
    assert watching.watch.watch_state.overrides == Overrides()


def test_a_name_taken_by_another_drained_backend_is_still_drained() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", None)
    watching.watch.drain("ghcr", 60)
    drain = watching.watch.watch_state.overrides.drains["ghcr"]
    watching.news.clear()
    watching.watch.reconfigure(watching.backends.plan("hub", urls={"hub": "ghcr"}))
    assert watching.watch.watch_state.overrides == Overrides(drains={"hub": drain})
    assert watching.news == []


def test_two_backends_that_swap_their_names_swap_everything() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    watching.watch.drain("hub", None)
    watching.watch.pin("ghcr", 600)
    before = watching.watch.watch_state
    watching.news.clear()
    watching.watch.reconfigure(watching.backends.plan("ghcr", "hub", urls=SWAPPED))
    after = watching.watch.watch_state
    assert after.healths == {"ghcr": before.healths["hub"], "hub": before.healths["ghcr"]}
    assert (after.overrides.pins, after.overrides.drains) == (
        {"hub": before.overrides.pins["ghcr"]},
        {"ghcr": before.overrides.drains["hub"]},
    )
    assert after.active == {
        (("ghcr", "hub"), purpose): ActiveBackend("hub", before.active[("hub", "ghcr"), purpose].since)
        for purpose in Purpose
    }
    assert watching.news == []


def test_urls_that_are_swapped_below_a_route_that_stays_keep_the_active_url() -> None:
    watching = up("hub", "ghcr")
    watching.watch.reconfigure(watching.backends.plan("hub", "ghcr", urls=SWAPPED))
    assert watching.active == "ghcr", "failback to the backend that is now preferred waits"


def test_a_rename_and_a_new_backend_on_the_route_keep_the_active_backend() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    plan = watching.backends.plan("quay", "main", "second", urls={"main": "hub", "second": "ghcr"})
    watching.watch.reconfigure(plan)
    assert watching.active == "second"


def test_each_of_two_routes_keeps_its_active_backend() -> None:
    watching = up("hub", "ghcr", "quay")
    routes = (("hub", "ghcr", "quay"), ("quay", "ghcr", "hub"))
    watching.watch.reconfigure(evolve(watching.backends.plan("hub", "ghcr", "quay"), routes=routes))
    watching.advance(61)
    assert watching.routing.redirecting == ("hub", "quay")
    plan = watching.backends.plan("main", "quay", urls=MAIN)
    watching.watch.reconfigure(evolve(plan, routes=(("main", "quay"), ("quay", "main"))))
    assert watching.routing.redirecting == ("main", "quay")


def test_a_renamed_backend_is_probed_at_once_under_its_new_name_and_no_longer_under_the_old_one() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    before = len(watching.backends.probed)
    watching.watch.reconfigure(watching.backends.plan("ghcr", "hub", urls=SWAPPED))
    assert watching.backends.probed[before:] == ["ghcr", "hub"]
    assert sorted(watching.backends.cancelled) == ["ghcr", "hub"]
    watching.backends.answer("ghcr", BAD)
    assert watching.watch.watch_state.healths["ghcr"].bads == 1


def test_quotas_follow_the_url() -> None:
    watching = up("hub", "ghcr")
    watching.watch.quotas.note("hub", "address", Quota(3))
    before = watching.watch.quotas.of("hub")
    watching.watch.reconfigure(watching.backends.plan("ghcr", "hub", urls=SWAPPED))
    assert watching.watch.quotas.of("hub") == {}
    assert watching.watch.quotas.of("ghcr") == before


def test_a_new_canary_is_not_seen_and_no_step_has_failed() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    watching.backends.answer("hub", evolve(GOOD, canary=Canary(True, drift="another digest"), deep=True))
    for _ in range(2):
        watching.advance(10)
        watching.backends.answer("hub", evolve(BAD, step=Step.BLOB))
    plan = watching.backends.plan("main", "ghcr", urls=MAIN)
    changed = evolve(plan.backends["main"], identity=evolve(plan.backends["main"].identity, canary="org/new:latest"))
    watching.watch.reconfigure(evolve(plan, backends={**plan.backends, "main": changed}))
    health = watching.watch.watch_state.healths["main"]
    assert (health.state, health.canary, health.canary_seen) == (State.DOWN, None, False)
    assert (health.deepest_failed_step, health.deep_at) == (None, None)
    assert watching.active == "ghcr"


def test_a_pin_ends_after_its_wall_time_although_the_machine_was_suspended() -> None:
    watching = up("hub", "ghcr")
    watching.watch.pin("ghcr", 7200)
    watching.advance(10)
    watching.step = 3600
    watching.news.clear()
    watching.advance(1.1)
    assert watching.news == ["the clock jumped forward by 1 h: probing all backends"], "nothing else changed"
    pin = watching.watch.watch_state.overrides.pins["ghcr"]
    assert pin.until is not None
    assert abs(pin.until - 3600) < 1
    watching.clock.advance(3600 - watching.clock.seconds() + 0.5)
    assert watching.active == "hub"


def test_what_was_over_during_a_suspend_ends_before_anything_is_probed() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", 600)
    watching.watch.pin("ghcr", 600)
    watching.advance(10)
    for name in ("hub", "ghcr"):
        watching.backends.answer(name, GOOD)
    probed: list[int] = []
    watching.watch.subscribe(lambda _: probed.append(len(watching.backends.probed)))
    before = len(watching.backends.probed)
    watching.step = 3600
    watching.news.clear()
    watching.advance(1.1)
    assert watching.watch.watch_state.overrides == Overrides()
    assert watching.news[0].startswith("ghcr is no longer pinned; hub is no longer drained")
    assert probed[0] == before


def test_a_pin_right_after_a_suspend_lasts_as_long_as_it_was_to() -> None:
    watching = up("hub", "ghcr")
    watching.step = 3600
    watching.watch.pin("ghcr", 600)
    watching.watch.drain("hub", 600)
    watching.advance(599)
    assert watching.active == "ghcr"
    watching.advance(1.1)
    assert watching.watch.watch_state.overrides == Overrides()


def test_a_jump_back_does_not_lengthen_an_override_and_none_ends_what_has_no_end() -> None:
    watching = up("hub", "ghcr")
    watching.watch.drain("hub", 600)
    watching.watch.pin("ghcr", None)
    watching.advance(10)
    before = watching.watch.watch_state.overrides
    watching.step = -3600
    watching.advance(1.1)
    assert watching.watch.watch_state.overrides == before
    watching.step = 0
    watching.advance(1.1)
    pin, drains = watching.watch.watch_state.overrides.pins["ghcr"], watching.watch.watch_state.overrides.drains
    assert pin == Override(pin.since)
    assert drains == {}


def test_a_handover_does_not_end_earlier_after_a_suspend() -> None:
    watching = up("hub", "ghcr")
    fail(watching, "hub")
    assert watching.routing.handover
    watching.step = 7200
    watching.advance(1.1)
    assert watching.routing.handover
