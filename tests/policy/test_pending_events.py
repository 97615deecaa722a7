"""The events that wait for a notification, and those that have no room."""

from hypothesis import given
from hypothesis import strategies as st

from facaded.policy.events import Event, EventKind, Severity
from facaded.policy.pending_events import MOST_EVENTS, PendingEvents


def event(severity: Severity, number: int = 0) -> Event:
    return Event(EventKind.FAILOVER, severity, str(number))


def add(pending: PendingEvents, *severities: Severity) -> PendingEvents:
    for number, severity in enumerate(severities):
        pending = pending.add(event(severity, number), float(number))
    return pending


def numbers(pending: PendingEvents) -> list[int]:
    return [int(dated.event.text) for dated in pending.events]


def test_events_wait_in_order_with_their_time() -> None:
    pending = add(PendingEvents(), Severity.NOTICE, Severity.ERROR)
    assert [(dated.event.severity, dated.at) for dated in pending.events] == [
        (Severity.NOTICE, 0.0),
        (Severity.ERROR, 1.0),
    ]
    assert pending.dropped == 0


def test_the_oldest_that_is_no_error_has_no_room() -> None:
    full = add(PendingEvents(), Severity.ERROR, *[Severity.WARNING] * (MOST_EVENTS - 1))
    assert full.dropped == 0
    more = full.add(event(Severity.NOTICE, MOST_EVENTS), 0.0)
    assert numbers(more) == [0, *range(2, MOST_EVENTS + 1)]
    assert more.dropped == 1


def test_the_oldest_error_has_no_room_if_all_are_errors() -> None:
    pending = add(PendingEvents(), *[Severity.ERROR] * (MOST_EVENTS + 2))
    assert numbers(pending) == [*range(2, MOST_EVENTS + 2)]
    assert pending.dropped == 2


@given(st.lists(st.sampled_from([Severity.ERROR, Severity.WARNING, Severity.NOTICE]), max_size=3 * MOST_EVENTS))
def test_no_event_is_lost_without_being_counted(severities: list[Severity]) -> None:
    pending = add(PendingEvents(), *severities)
    assert len(pending.events) + pending.dropped == len(severities)
    assert len(pending.events) <= MOST_EVENTS
    assert numbers(pending) == sorted(numbers(pending))
    errors = severities.count(Severity.ERROR)
    waiting = sum(dated.event.severity is Severity.ERROR for dated in pending.events)
    assert waiting == min(errors, MOST_EVENTS)
