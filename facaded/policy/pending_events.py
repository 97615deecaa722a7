"""Events that wait for a notification: which are notified, and which are dropped if there are too many. Pure."""

from attrs import frozen

from facaded.policy.events import Event, EventKind, Severity

MOST_EVENTS = 100
"""Events that wait: an outage of 16 backends, the most that there can be, has a third of that."""

NOTIFIED = frozenset(
    {
        EventKind.ALL_DOWN,
        EventKind.ALL_DOWN_ENDED,
        EventKind.FAILOVER,
        EventKind.FAILBACK,
        EventKind.LIMITED,
        EventKind.CERTIFICATE_TROUBLE,
    }
)
"""The kinds of events that are notified."""


@frozen
class DatedEvent:
    """An event, and when it happened, in seconds since the epoch."""

    event: Event
    at: float


@frozen
class PendingEvents:
    """The events that wait for the next notification, the oldest first. `dropped` counts those that had no room."""

    events: tuple[DatedEvent, ...] = ()
    dropped: int = 0

    def add(self, event: Event, at: float) -> "PendingEvents":
        """Return the events with one more. If there are too many, the oldest that is no error is dropped.

        If all are errors, it is the oldest of all.
        """
        events = (*self.events, DatedEvent(event, at))
        if len(events) <= MOST_EVENTS:
            return PendingEvents(events, self.dropped)
        places = (place for place, dated in enumerate(events) if dated.event.severity > Severity.ERROR)
        place = next(places, 0)
        return PendingEvents((*events[:place], *events[place + 1 :]), self.dropped + 1)
