"""What a worker does with the state that it is sent."""

from attrs import evolve
from twisted.internet.task import Clock

from facaded.policy.decision import RoutingState
from facaded.policy.health import Settings, State
from facaded.policy.plan import Plan
from facaded.workers.codec import BackendState, SentView, to_message
from facaded.workers.counted_work import CountedWork
from facaded.workers.followed_watch import FollowedWatch
from tests.policy.test_changes import watched


def plan(*names: str) -> Plan:
    return Plan({name: watched(name) for name in names}, (names,), Settings())


def message(active: str, *names: str, settled: bool = True) -> dict[str, object]:
    states = {name: BackendState(State.UP, 0.0, None) for name in names}
    return {"view": to_message(SentView(RoutingState((active,), (active,)), states, settled))}


def following(*names: str) -> FollowedWatch:
    clock = Clock()
    return FollowedWatch(clock, plan(*names), lambda kind, message: True, CountedWork(clock))


def test_a_first_process_that_has_just_started_changes_no_active_backend() -> None:
    watch = following("hub", "ghcr")
    watch.take_view(message("ghcr", "hub", "ghcr"))
    watch.take_view(message("hub", "hub", "ghcr", settled=False))
    assert watch.snapshot().routing.redirecting == ("ghcr",)


def test_a_first_process_that_has_just_started_with_other_backends_says_which_are_active() -> None:
    watch = following("hub", "ghcr")
    watch.take_view(message("ghcr", "hub", "ghcr"))
    watch.reconfigure(plan("quay", "hub"))
    watch.take_view(message("quay", "quay", "hub", settled=False))
    assert watch.snapshot().routing.redirecting == ("quay",)
    assert set(watch.snapshot().view.healths) == {"quay", "hub"}


def test_a_route_that_no_longer_has_the_active_backend_gets_another_one() -> None:
    watch = following("hub", "ghcr")
    watch.take_view(message("ghcr", "hub", "ghcr"))
    new = plan("hub", "ghcr")
    watch.reconfigure(evolve(new, routes=(("hub",),)))
    watch.take_view(message("hub", "hub", "ghcr", settled=False))
    assert watch.snapshot().routing.redirecting == ("hub",)
