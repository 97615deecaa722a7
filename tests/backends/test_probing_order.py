"""The watch: which backends are probed at once, and which not before their Retry-After ends."""

from collections.abc import Callable

import pytest
from attrs import evolve

from facaded.backends.watch import FIRST_ROUND
from facaded.policy.evidence import Attempt
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import Canary, Degradation, Health, Purpose, State, Step, Verdict
from facaded.policy.samples import Count
from facaded.policy.watch_state import WatchState
from tests.watching import BAD, GOOD, Watching, fail, up

LIMITED = evolve(BAD, verdict=Verdict.LIMITED)
FAILED = Attempt("hub", Step.BLOB, False, "org/app", "192.0.2.1")
RATE_LIMITED = Attempt("hub", Step.MANIFEST, False, retry_after=60.0, sample=False)


def probes_of(watching: Watching, name: str) -> int:
    return watching.backends.probed.count(name)


# Retry-After


def hint(watching: Watching) -> None:
    for _ in range(20):
        watching.watch.probe_soon("hub")
        watching.watch.report(FAILED)


def jump(watching: Watching) -> None:
    watching.step += 3600


def reload_slower(watching: Watching) -> None:
    plan = watching.backends.plan("hub", "ghcr")
    watching.watch.reconfigure(evolve(plan, settings=evolve(plan.settings, interval=11)))


def rename(watching: Watching) -> None:
    watching.watch.reconfigure(watching.backends.plan("main", "ghcr", urls={"main": "hub"}))


def fail_the_other(watching: Watching) -> None:
    watching.advance(10)
    if "ghcr" in watching.backends.waiting:
        watching.backends.answer("ghcr", BAD)


@pytest.mark.parametrize("event", [hint, jump, reload_slower, fail_the_other])
def test_no_probe_starts_before_the_retry_after_of_a_served_request_ends(event: Callable[[Watching], None]) -> None:
    watching = up("hub", "ghcr")
    watching.advance(1)
    watching.watch.report(RATE_LIMITED)
    before = probes_of(watching, "hub")
    event(watching)
    watching.advance(61 - watching.clock.seconds() - 0.2)
    assert probes_of(watching, "hub") == before
    watching.advance(0.5)
    assert probes_of(watching, "hub") == before + 1


def test_a_backend_that_is_renamed_waits_too() -> None:
    watching = up("hub", "ghcr")
    watching.watch.report(RATE_LIMITED)
    rename(watching)
    watching.advance(59.5)
    assert probes_of(watching, "main") == 0
    watching.advance(1)
    assert probes_of(watching, "main") == 1


def test_a_retry_after_during_a_probe_applies_when_that_ends() -> None:
    watching = up("hub", "ghcr")
    watching.advance(10)
    assert "hub" in watching.backends.waiting
    watching.watch.report(RATE_LIMITED)
    watching.backends.answer("hub", GOOD)
    before = probes_of(watching, "hub")
    watching.advance(59.5)
    assert probes_of(watching, "hub") == before
    watching.advance(1)
    assert probes_of(watching, "hub") == before + 1


def test_a_shorter_retry_after_does_not_make_a_probe_early() -> None:
    watching = up("hub", "ghcr")
    watching.watch.report(RATE_LIMITED)
    watching.advance(1)
    watching.watch.report(evolve(RATE_LIMITED, retry_after=5.0))
    watching.advance(58)
    assert probes_of(watching, "hub") == 1


def test_a_retry_after_of_an_unknown_backend_is_ignored() -> None:
    watching = up("hub")
    watching.watch.report(evolve(RATE_LIMITED, backend="nowhere"))
    assert watching.news[1:] == []


def resting(state: State) -> WatchState:
    """Return the state of an earlier run in which hub sent a Retry-After that ends in a minute."""
    healths = {"hub": Health(state, -100.0, retry_at=60.0), "ghcr": Health(State.UNKNOWN, -100.0)}
    return WatchState(healths, {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("hub", -100.0)})


def test_after_a_restart_nobody_waits_for_a_backend_whose_retry_after_has_not_ended() -> None:
    watching = Watching.begin("hub", "ghcr", saved=resting(State.UNKNOWN))
    assert watching.backends.probed == ["ghcr"]
    watching.backends.answer("ghcr", GOOD)
    assert watching.watch.settled
    watching.advance(FIRST_ROUND + 1)
    assert watching.watch.watch_state.healths["hub"].state is State.UNKNOWN, "it was not asked"
    assert watching.active == "hub"
    watching.advance(56.5)
    assert probes_of(watching, "hub") == 1


def test_after_a_restart_within_everybody_s_retry_after_requests_are_answered_at_once() -> None:
    saved = resting(State.UNKNOWN)
    saved = evolve(saved, healths=dict.fromkeys(("hub", "ghcr"), saved.healths["hub"]))
    watching = Watching.begin("hub", "ghcr", saved=saved)
    assert watching.watch.settled
    assert watching.backends.probed == []


# rivals


def test_when_the_active_backend_begins_to_fail_the_others_are_probed_at_once() -> None:
    watching = up("hub", "ghcr", "quay")
    watching.advance(10)
    for name in ("hub", "ghcr", "quay"):
        watching.backends.answer(name, GOOD)
    watching.advance(5)
    watching.watch.probe_soon("hub")
    watching.clock.advance(0)
    before = probes_of(watching, "ghcr"), probes_of(watching, "quay")
    watching.backends.answer("hub", BAD)
    watching.clock.advance(0)
    assert (probes_of(watching, "ghcr"), probes_of(watching, "quay")) == (before[0] + 1, before[1] + 1)


def test_when_another_backend_fails_nothing_is_probed_at_once() -> None:
    watching = up("hub", "ghcr", "quay")
    watching.advance(5)
    watching.watch.probe_soon("ghcr")
    watching.clock.advance(0)
    before = len(watching.backends.probed)
    watching.backends.answer("ghcr", BAD)
    watching.clock.advance(0)
    assert len(watching.backends.probed) == before


def take_down(watching: Watching, *names: str) -> None:
    """Make two probes of each of these backends fail, at about the same time."""
    watching.advance(10)
    for _ in range(2):
        for name in names:
            watching.backends.answer(name, BAD)
        watching.advance(1)


def test_when_all_are_down_and_one_recovers_the_others_are_probed_at_once() -> None:
    watching = up("hub", "ghcr")
    take_down(watching, "hub", "ghcr")
    assert {health.state for health in watching.watch.watch_state.healths.values()} == {State.DOWN}
    assert watching.active == "hub"
    watching.advance(9)
    watching.backends.answer("hub", BAD)
    before = probes_of(watching, "hub")
    watching.backends.answer("ghcr", GOOD)
    watching.clock.advance(0)
    assert probes_of(watching, "hub") == before + 1


def test_while_a_recovery_waits_for_it_the_active_backend_is_probed_again_soon() -> None:
    watching = up("hub", "ghcr")
    take_down(watching, "hub", "ghcr")
    watching.advance(9)
    watching.backends.answer("ghcr", GOOD)
    watching.advance(1)
    watching.backends.answer("ghcr", GOOD)
    assert watching.active == "hub", "its probe began before"
    watching.backends.answer("hub", evolve(BAD, latency=3.0))
    assert watching.active == "hub", "that probe says nothing of now"
    watching.advance(1)
    watching.backends.answer("hub", evolve(BAD, latency=0.0))
    assert watching.active == "ghcr"


def test_a_recovery_does_not_wait_for_a_probe_that_never_ends() -> None:
    watching = up("hub", "ghcr")
    take_down(watching, "hub", "ghcr")
    watching.advance(9)
    watching.backends.answer("ghcr", GOOD)
    watching.advance(1)
    watching.backends.answer("ghcr", GOOD)
    watching.advance(8.5)
    assert watching.active == "hub"
    watching.advance(1)
    assert watching.active == "ghcr"


def test_no_rival_is_probed_within_its_retry_after() -> None:
    watching = up("hub", "ghcr")
    watching.watch.report(evolve(RATE_LIMITED, backend="ghcr"))
    fail(watching, "hub")
    assert probes_of(watching, "ghcr") == 1
    assert watching.active == "ghcr"
    watching.advance(10)
    watching.backends.answer("hub", GOOD)
    assert probes_of(watching, "ghcr") == 1


def test_a_recovery_does_not_wait_for_a_backend_that_must_not_be_probed() -> None:
    watching = up("hub", "ghcr")
    take_down(watching, "ghcr")
    watching.backends.answer("hub", evolve(BAD, retry_after=60.0))
    watching.advance(60.5)
    watching.backends.answer("hub", evolve(BAD, retry_after=60.0))
    assert watching.active == "hub"
    for _ in range(2):
        while "ghcr" not in watching.backends.waiting:
            watching.advance(0.5)
        watching.backends.answer("ghcr", GOOD)
    assert watching.active == "ghcr"


# drift and brown-outs


def test_a_canary_that_was_seen_and_is_deleted_takes_nothing_down_and_is_one_line_of_news() -> None:
    watching = up("hub", "ghcr")
    found = Canary(True, "sha256:" + "a" * 64)
    gone = Canary(False, "", "answered 404 for the canary")
    deleted = False
    for second in range(3800):
        watching.advance(1)
        if second == 100:
            watching.news.clear()
            watching.changes.clear()
            deleted = True
        for name in list(watching.backends.waiting):
            depth = watching.backends.depths[name][-1]
            canary = gone if deleted and name == "hub" else found
            step = Step.CDN if depth.deep else Step.MANIFEST
            watching.backends.answer(name, evolve(GOOD, step=step, deep=depth.deep, canary=canary))
    assert watching.news == ["hub drifts: answered 404 for the canary; hub is active"]
    assert [change for change in watching.changes if change.transitions or change.takeovers] == []
    assert {health.state for health in watching.watch.watch_state.healths.values()} == {State.UP}


def test_failures_of_many_clients_degrade_a_backend_and_are_one_line_of_news() -> None:
    watching = up("hub", "ghcr")
    watching.news.clear()
    for number in range(6):
        watching.watch.report(evolve(FAILED, source=f"192.0.2.{number}", repository=f"org/app{number}"))
    assert watching.news == ["hub is degraded (blob: 6 of 6 requests failed in 60 s); ghcr is active"]
    assert watching.watch.watch_state.healths["hub"].state is State.UP
    assert watching.routing.redirecting == watching.routing.serving == ("ghcr",)


def test_one_broken_image_does_not_degrade_a_backend_whoever_asks_for_it() -> None:
    watching = up("hub", "ghcr")
    for number in range(100):
        watching.watch.report(evolve(FAILED, source=f"192.0.2.{number}"))
        watching.advance(0.5)
    assert watching.watch.watch_state.healths["hub"].degraded is None


def test_a_request_from_before_a_reload_says_nothing_of_the_backend_with_its_name_now() -> None:
    watching = up("hub", "ghcr")
    url = watching.watch.snapshot().plan.backends["hub"].identity.url
    watching.watch.report(RATE_LIMITED, "https://other.test")
    assert watching.routing.resting == frozenset()
    watching.watch.report(RATE_LIMITED, url)
    assert watching.routing.resting == {"hub"}


def test_failures_of_one_client_do_not_degrade_a_backend() -> None:
    watching = up("hub", "ghcr")
    for _ in range(100):
        watching.watch.report(FAILED)
        watching.advance(0.5)
    assert watching.watch.watch_state.healths["hub"].degraded is None


def test_a_brown_out_of_an_earlier_run_applies_until_it_is_over() -> None:
    degraded = Health(State.UNKNOWN, -100.0, degraded=Degradation(-50.0, Step.CDN, Count(6, 6, 60.0)))
    saved = WatchState(
        {"hub": degraded, "ghcr": Health(State.UNKNOWN, -100.0)},
        {(("hub", "ghcr"), Purpose.REDIRECT): ActiveBackend("ghcr", -100.0)},
    )
    watching = up("hub", "ghcr", saved=saved)
    watching.advance(60)
    assert watching.active == "ghcr"
    assert watching.watch.watch_state.healths["hub"].degraded is not None


@pytest.mark.parametrize("step", [Step.BODY, Step.BLOB])
def test_a_failed_request_for_a_manifest_has_the_canary_s_fetched(step: Step) -> None:
    watching = up("hub", "ghcr")
    seen = evolve(GOOD, step=Step.BODY, canary=Canary(True))
    watching.advance(10)
    watching.backends.answer("hub", seen)
    watching.advance(5)
    watching.watch.report(evolve(FAILED, step=step, sample=False))
    watching.clock.advance(0)
    depth = watching.backends.depths["hub"][-1]
    assert (depth.deep, depth.body) == (True, step is Step.BODY)
    watching.backends.answer("hub", evolve(seen, deep=True))
    watching.advance(10)
    assert not watching.backends.depths["hub"][-1].body
