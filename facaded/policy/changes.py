"""Changes: the difference between two snapshots, as one value for every subscriber."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from facaded.policy.decision import RoutingState
from facaded.policy.failover import Place
from facaded.policy.health import Health, Purpose, State
from facaded.policy.reasons import describe
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState


@frozen
class Transition:
    """A change of a backend's state.

    `before` is None if the backend is new. `why` is the probe result behind the change, or empty if there was none.
    """

    backend: str
    before: State | None
    after: State
    why: str


@frozen
class Takeover:
    """A change of the active backend of one place."""

    place: Place
    before: str
    after: str


@frozen
class Change:
    """What changed at one moment, and the state that follows. `when` is in monotonic seconds.

    `news` describes the change to a person on one line. It is empty if the change only concerns the state file or
    routing.
    """

    when: float
    news: str
    transitions: tuple[Transition, ...]
    takeovers: tuple[Takeover, ...]
    watch_state: WatchState
    routing: RoutingState


def compare(before: Snapshot, after: Snapshot) -> Change:
    """Return the difference between two snapshots."""
    transitions, takeovers = tuple(_transitions(before, after)), tuple(_takeovers(before, after))
    news = _news(before, after, transitions, takeovers)
    return Change(after.at, news, transitions, takeovers, after.watch_state, after.routing)


def announce(news: str, now: Snapshot) -> Change:
    """Return a change that only carries news."""
    return Change(now.at, news, (), (), now.watch_state, now.routing)


def _transitions(before: Snapshot, after: Snapshot) -> Iterator[Transition]:
    for name, health in after.watch_state.healths.items():
        previous = before.watch_state.healths.get(name)
        if previous is None or previous.state is not health.state:
            yield Transition(name, None if previous is None else previous.state, health.state, _why(health))


def _why(health: Health) -> str:
    match health.state:
        case State.UNKNOWN:
            result = None
        case State.UP:
            result = health.last
        case _:
            result = health.failed
    return f"{result.step.value}: {result.reason}" if result else ""


def _takeovers(before: Snapshot, after: Snapshot) -> Iterator[Takeover]:
    for place, active in after.watch_state.active.items():
        previous = before.watch_state.active.get(place)
        if previous is not None and previous.backend != active.backend:
            yield Takeover(place, previous.backend, active.backend)


def _news(before: Snapshot, after: Snapshot, transitions: Sequence[Transition], takeovers: Sequence[Takeover]) -> str:
    healths = after.watch_state.healths
    news = [
        *(describe(transition.backend, healths[transition.backend]) for transition in transitions),
        *_degradation_news(before, after, [transition.backend for transition in transitions]),
        *after.watch_state.overrides.changes_since(before.watch_state.overrides),
        *_drift_news(before, after),
    ]
    if news:
        return "; ".join([*news, f"{after.active.backend} is active"])
    return after.explain() if any(takeover.place[1] is Purpose.REDIRECT for takeover in takeovers) else ""


def _degradation_news(before: Snapshot, after: Snapshot, changed: Sequence[str]) -> Iterator[str]:
    """Say which backends began or ceased to be degraded, but for those whose state has changed."""
    for name, health in after.watch_state.healths.items():
        previous = before.watch_state.healths.get(name)
        if name in changed or previous is None or (previous.degraded is None) == (health.degraded is None):
            continue
        yield describe(name, health) if health.degraded else f"{name} is no longer degraded"


def _drift_news(before: Snapshot, after: Snapshot) -> Iterator[str]:
    previous, drifts = before.drifts, after.drifts
    for name, drift in drifts.items():
        if previous.get(name) != drift:
            yield f"{name} drifts: {drift}"
    for name in previous:
        if name not in drifts and name in after.watch_state.healths:
            yield f"{name} no longer drifts"
