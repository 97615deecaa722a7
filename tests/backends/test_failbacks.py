"""The operator's command to fail back now, in a running watch."""

from facaded.policy.events import Reason
from facaded.policy.health import Purpose
from tests.watching import BAD, GOOD, Watching


def waiting() -> Watching:
    """Return a watch whose preferred backend has just recovered, and waits."""
    watching = Watching.begin("hub", "ghcr")
    watching.backends.answer("hub", BAD)
    watching.backends.answer("ghcr", GOOD)
    while watching.watch.watch_state.healths["hub"].state.value != "up":
        watching.advance(1)
        for name in list(watching.backends.waiting):
            watching.backends.answer(name, GOOD)
    assert watching.active == "ghcr"
    watching.news.clear()
    return watching


def test_a_backend_that_waits_is_active_at_once_and_stays_active() -> None:
    watching = waiting()
    takeovers = watching.watch.failbacks.end_wait()
    assert [(takeover.before, takeover.after, takeover.reason) for takeover in takeovers] == [
        ("ghcr", "hub", Reason.FAILBACK)
    ] * len(Purpose)
    assert watching.active == "hub"
    assert watching.news == ["hub is active: it is the preferred backend and is up"]
    watching.advance(5)
    assert watching.active == "hub"


def test_without_a_backend_that_waits_nothing_changes() -> None:
    watching = waiting()
    watching.watch.failbacks.end_wait()
    pushed = len(watching.changes)
    assert watching.watch.failbacks.end_wait() == ()
    assert len(watching.changes) == pushed
