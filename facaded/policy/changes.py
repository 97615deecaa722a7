"""Changes: the difference between two snapshots, as one value for every subscriber."""

from collections.abc import Iterator

from attrs import frozen

from facaded.policy.decision import RoutingState
from facaded.policy.events import Event, Reason, Severity, find_events, news_of, takeover_reason, worst
from facaded.policy.failover import Place
from facaded.policy.health import Health, State
from facaded.policy.snapshot import RoutingView, Snapshot
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
    reason: Reason


@frozen
class Change:
    """What changed at one moment, and the state that follows. `when` is in monotonic seconds.

    `news` describes the change to a person on one line, and `severity` says how bad it is. `news` is empty if the
    change only concerns the state file or routing. `events` are its parts.
    """

    when: float
    news: str
    severity: Severity
    events: tuple[Event, ...]
    transitions: tuple[Transition, ...]
    takeovers: tuple[Takeover, ...]
    watch_state: WatchState
    routing: RoutingState

    @property
    def view(self) -> RoutingView:
        """What answers depend on after the change."""
        return RoutingView(self.routing, self.watch_state.healths)


def compare(before: Snapshot, after: Snapshot) -> Change:
    """Return the difference between two snapshots."""
    transitions, takeovers = tuple(_transitions(before, after)), tuple(_takeovers(before, after))
    events = find_events(before, after)
    news, severity = news_of(events, after), worst(events)
    return Change(after.at, news, severity, events, transitions, takeovers, after.watch_state, after.routing)


def announce(news: str, now: Snapshot) -> Change:
    """Return a change that only carries news."""
    return Change(now.at, news, Severity.NOTICE, (), (), (), now.watch_state, now.routing)


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
            yield Takeover(place, previous.backend, active.backend, takeover_reason(before, after, *place))
