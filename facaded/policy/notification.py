"""A notification: the JSON document on the standard input of the operator's command. Pure.

Its keys are an interface; `facaded/manual/notify.md` describes them.
"""

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.policy.events import worst
from facaded.policy.health import Purpose
from facaded.policy.pending_events import DatedEvent, PendingEvents
from facaded.policy.reasons import condition
from facaded.policy.snapshot import Snapshot

TEXT_LENGTH = 2000
"""Characters of an event's text that are sent: those of an outage quote the reason of each backend."""


@frozen
class NotifiedEvent:
    """One event. `time` is in seconds since the epoch; `backend` is empty if it concerns none in particular."""

    kind: str
    severity: str
    text: str
    backend: str
    time: float


@frozen
class NotifiedBackend:
    """A backend at the moment of the notification. `active` is whether a route redirects to it."""

    name: str
    state: str
    active: bool


@frozen
class Notification(Document):
    """What has happened since the last notification.

    `hosts` are the facade's names in the settings, `severity` is that of the worst event, `text` has the texts of all
    events on one line, and `dropped` counts older events that had no room.
    """

    hosts: tuple[str, ...]
    severity: str
    text: str
    events: tuple[NotifiedEvent, ...]
    dropped: int
    backends: tuple[NotifiedBackend, ...]


def compose(pending: PendingEvents, snapshot: Snapshot, hosts: tuple[str, ...]) -> Notification:
    """Return the notification of all pending events, with the state of the backends in `snapshot`."""
    events = tuple(_event(dated) for dated in pending.events)
    state = snapshot.watch_state
    active = {active.backend for (_, purpose), active in state.active.items() if purpose is Purpose.REDIRECT}
    return Notification(
        hosts=hosts,
        severity=_severity(pending),
        text="; ".join(dict.fromkeys(event.text for event in events)),
        events=events,
        dropped=pending.dropped,
        backends=tuple(
            NotifiedBackend(name, condition(health), name in active) for name, health in state.healths.items()
        ),
    )


def _severity(pending: PendingEvents) -> str:
    return worst(dated.event for dated in pending.events).name.lower()


def _event(dated: DatedEvent) -> NotifiedEvent:
    event = dated.event
    text = event.text[:TEXT_LENGTH]
    return NotifiedEvent(event.kind.value, event.severity.name.lower(), text, event.backend, round(dated.at, 3))
