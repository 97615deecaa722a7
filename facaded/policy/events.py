"""Events: what has happened, how bad it is, and in what words. Pure: two snapshots in, events out."""

from collections.abc import Iterable, Iterator
from enum import Enum, IntEnum

from attrs import frozen

from facaded.policy.health import Health, Purpose, State
from facaded.policy.outages import Outage, explain_outages, find_outages
from facaded.policy.reasons import DEGRADED, condition, describe
from facaded.policy.snapshot import Snapshot


class Severity(IntEnum):
    """How bad an event is, by syslog's numbers (RFC 5424 §6.2.1): less is worse."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


class EventKind(Enum):
    """What has happened; a notification carries it."""

    ALL_DOWN = "all down"
    ALL_DOWN_ENDED = "all down ended"
    DOWN = "down"
    LIMITED = "limited"
    DEGRADED = "degraded"
    UP = "up"
    UNKNOWN = "unknown"
    FAILOVER = "failover"
    FAILBACK = "failback"
    OVERRIDE = "override"
    DRIFT = "drift"
    DRIFT_ENDED = "drift ended"
    CERTIFICATE_TROUBLE = "certificate trouble"


class Reason(Enum):
    """Why another backend is active now: a fixed list, for metrics."""

    DOWN = "down"
    LIMITED = "limited"
    DEGRADED = "degraded"
    DRAINED = "drained"
    UNDRAINED = "undrained"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    FAILBACK = "failback"
    OTHER = "other"


@frozen
class Event:
    """Something that has happened. `text` is for a person, without a full stop. `backend` may be empty."""

    kind: EventKind
    severity: Severity
    text: str
    backend: str = ""


SEVERITIES = {
    EventKind.ALL_DOWN: Severity.ERROR,
    EventKind.DOWN: Severity.WARNING,
    EventKind.LIMITED: Severity.WARNING,
    EventKind.DEGRADED: Severity.WARNING,
    EventKind.FAILOVER: Severity.WARNING,
    EventKind.DRIFT: Severity.WARNING,
    EventKind.UNKNOWN: Severity.INFO,
}
"""The severity of each kind of event that is not a notice."""

OF_A_BACKEND = (EventKind.DOWN, EventKind.LIMITED, EventKind.DEGRADED)
"""What an outage of all backends consists of."""


def find_events(before: Snapshot, after: Snapshot) -> tuple[Event, ...]:
    """Return what has happened between two snapshots: to each backend, to all of them, and then the rest."""
    return (
        *_backend_events(before, after),
        *_outage_events(find_outages(before), find_outages(after)),
        *(_event(EventKind.OVERRIDE, text) for text in _overrides(before, after)),
        *_drift_events(before, after),
        *_takeover_events(before, after),
    )


def news_of(events: Iterable[Event], now: Snapshot) -> str:
    """Return one line about all events, which ends with the active backend; empty without events.

    An outage of all backends tells what has happened to each. A takeover by itself tells why.
    """
    events = tuple(events)
    takeovers = [event.text for event in events if event.kind in (EventKind.FAILOVER, EventKind.FAILBACK)]
    outage = [event.text for event in events if event.kind is EventKind.ALL_DOWN]
    others = [
        event.text
        for event in events
        if event.text not in (*takeovers, *outage) and not (outage and event.kind in OF_A_BACKEND)
    ]
    if not others and not outage:
        return "; ".join(dict.fromkeys(takeovers))
    is_whole = all(one.is_whole for one in find_outages(now))
    active = [f"{now.active.backend} {'stays' if outage else 'is'} active"] if is_whole or not outage else []
    return "; ".join([*outage, *others, *active])


def worst(events: Iterable[Event]) -> Severity:
    """Return the severity of the worst event; INFO without any."""
    return min((event.severity for event in events), default=Severity.INFO)


def takeover_reason(before: Snapshot, after: Snapshot, route: tuple[str, ...], purpose: Purpose) -> Reason:
    """Return why a route has another active backend after than before."""
    previous, active = (snapshot.watch_state.active[route, purpose].backend for snapshot in (before, after))
    overrides, earlier = after.watch_state.overrides, before.watch_state.overrides
    if overrides.pinned == active:
        return Reason.PINNED
    if previous in overrides.drains:
        return Reason.DRAINED
    health = after.watch_state.healths.get(previous)
    if health is not None and not health.usable(purpose):
        return Reason.DOWN if health.state is State.DOWN else Reason.LIMITED
    if health is not None and health.degraded is not None:
        return Reason.DEGRADED
    if earlier.pinned == previous:
        return Reason.UNPINNED
    if active in earlier.drains:
        return Reason.UNDRAINED
    return Reason.FAILBACK if _is_earlier(route, active, previous) else Reason.OTHER


def _outage_events(before: tuple[Outage, ...], after: tuple[Outage, ...]) -> Iterator[Event]:
    if after and _which(before) != _which(after):
        yield _event(EventKind.ALL_DOWN, explain_outages(after))
    elif before and not after:
        yield _event(EventKind.ALL_DOWN_ENDED, "clients are answered again")


def _which(outages: Iterable[Outage]) -> list[tuple[tuple[str, ...], bool]]:
    """Return what makes an outage another one: its causes may change without news."""
    return [(outage.route, outage.is_total) for outage in outages]


def _backend_events(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    for name, health in after.watch_state.healths.items():
        previous = before.watch_state.healths.get(name)
        if previous is None or condition(previous) != condition(health):
            yield _event(_kind(health), _text(name, previous, health), name)


def _kind(health: Health) -> EventKind:
    return EventKind.DEGRADED if condition(health) == DEGRADED else EventKind(health.state.value)


def _text(name: str, previous: Health | None, health: Health) -> str:
    if previous is not None and previous.state is health.state and not health.degraded:
        return f"{name} is no longer degraded"
    return describe(name, health)


def _overrides(before: Snapshot, after: Snapshot) -> Iterable[str]:
    return after.watch_state.overrides.changes_since(before.watch_state.overrides)


def _drift_events(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    previous, drifts = before.drifts, after.drifts
    for name, drift in drifts.items():
        if previous.get(name) != drift:
            yield _event(EventKind.DRIFT, f"{name} drifts: {drift}", name)
    for name in previous:
        if name not in drifts and name in after.watch_state.healths:
            yield _event(EventKind.DRIFT_ENDED, f"{name} no longer drifts", name)


def _takeover_events(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    """Yield the takeovers for redirects. One that ends an outage of all is good news, though its kind is a failover."""
    outages = find_outages(before)
    for (route, purpose), active in after.watch_state.active.items():
        previous = before.watch_state.active.get((route, purpose))
        if purpose is Purpose.SERVE or previous is None or previous.backend == active.backend:
            continue
        is_earlier = _is_earlier(route, active.backend, previous.backend)
        kind = EventKind.FAILBACK if is_earlier else EventKind.FAILOVER
        is_relief = any(outage.route == route for outage in outages)
        severity = Severity.NOTICE if is_relief else SEVERITIES.get(kind, Severity.NOTICE)
        yield Event(kind, severity, after.explain((route, purpose)), active.backend)


def _is_earlier(route: tuple[str, ...], active: str, previous: str) -> bool:
    return previous in route and route.index(active) < route.index(previous)


def _event(kind: EventKind, text: str, backend: str = "") -> Event:
    return Event(kind, SEVERITIES.get(kind, Severity.NOTICE), text, backend)
