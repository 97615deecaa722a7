"""Changes: what is different between two snapshots, as one value for everybody who wants to know."""

from collections.abc import Iterator, Sequence

from attrs import frozen

from facaded.policy.decision import RoutingState
from facaded.policy.failover import Place, describe
from facaded.policy.health import Health, Purpose, State
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState


@frozen
class Transition:
    """A change of a backend's state. `before` is None if the backend is new; `why` is what a probe saw, if any did."""

    backend: str
    before: State | None
    after: State
    why: str


@frozen
class Takeover:
    """A change of the backend that is active at one place."""

    place: Place
    before: str
    after: str


@frozen
class Change:
    """What has changed at one moment, in monotonic seconds, and what is so from then on.

    `news` is one line that says it to a person. It is empty if there is nothing to say, but something to keep, or
    another routing to answer by.
    """

    when: float
    news: str
    transitions: tuple[Transition, ...]
    takeovers: tuple[Takeover, ...]
    watch_state: WatchState
    routing: RoutingState


def compare(before: Snapshot, after: Snapshot) -> Change:
    """Return what has changed."""
    transitions, takeovers = tuple(_transitions(before, after)), tuple(_takeovers(before, after))
    news = _news(before, after, transitions, takeovers)
    return Change(after.at, news, transitions, takeovers, after.watch_state, after.routing)


def announce(news: str, now: Snapshot) -> Change:
    """Return news for a person, although nothing has changed."""
    return Change(now.at, news, (), (), now.watch_state, now.routing)


def _transitions(before: Snapshot, after: Snapshot) -> Iterator[Transition]:
    for name, health in after.watch_state.healths.items():
        was = before.watch_state.healths.get(name)
        if was is None or was.state is not health.state:
            yield Transition(name, None if was is None else was.state, health.state, _why(health))


def _why(health: Health) -> str:
    match health.state:
        case State.UNKNOWN:
            seen = None
        case State.UP:
            seen = health.last
        case _:
            seen = health.failed
    return f"{seen.step.value}: {seen.reason}" if seen else ""


def _takeovers(before: Snapshot, after: Snapshot) -> Iterator[Takeover]:
    for place, active in after.watch_state.active.items():
        was = before.watch_state.active.get(place)
        if was is not None and was.backend != active.backend:
            yield Takeover(place, was.backend, active.backend)


def _news(before: Snapshot, after: Snapshot, transitions: Sequence[Transition], takeovers: Sequence[Takeover]) -> str:
    healths = after.watch_state.healths
    news = [
        *(describe(each.backend, healths[each.backend]) for each in transitions),
        *after.watch_state.overrides.news(before.watch_state.overrides),
        *_drift_news(before, after),
    ]
    if news:
        return "; ".join([*news, f"{after.active.backend} is active"])
    return after.explain() if any(each.place[1] is Purpose.REDIRECT for each in takeovers) else ""


def _drift_news(before: Snapshot, after: Snapshot) -> Iterator[str]:
    was, drifts = before.drifts, after.drifts
    yield from (f"{name} drifts: {how}" for name, how in drifts.items() if was.get(name) != how)
    yield from (f"{name} drifts no more" for name in was if name not in drifts and name in after.watch_state.healths)
