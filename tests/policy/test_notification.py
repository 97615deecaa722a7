"""The document that the operator's command gets."""

import json

from attrs import evolve

from facaded.net.json_documents import to_json
from facaded.policy.changes import compare
from facaded.policy.events import Event, EventKind, Severity
from facaded.policy.notification import TEXT_LENGTH, compose
from facaded.policy.pending_events import NOTIFIED, PendingEvents
from facaded.policy.snapshot import Snapshot
from tests.policy.test_changes import ALL_UP, FAILED_OVER, PLAN
from tests.policy.test_events import BOTH_DOWN, DEGRADED

HOSTS = ("docker.lab.test",)


def pending(*events: Event) -> PendingEvents:
    waiting = PendingEvents()
    for number, event in enumerate(events):
        waiting = waiting.add(event, 1000.25 + number)
    return waiting


def test_a_failover_is_a_document_with_the_event_and_every_backend() -> None:
    change = compare(Snapshot(PLAN, ALL_UP, 10.0), Snapshot(PLAN, FAILED_OVER, 10.0))
    events = [event for event in change.events if event.kind in NOTIFIED]
    text = "ghcr is active: hub is down (token server: timeout)"
    assert json.loads(json.dumps(to_json(compose(pending(*events), Snapshot(PLAN, FAILED_OVER, 10.0), HOSTS)))) == {
        "schema": 1,
        "hosts": ["docker.lab.test"],
        "severity": "warning",
        "text": text,
        "events": [{"kind": "failover", "severity": "warning", "text": text, "backend": "ghcr", "time": 1000.25}],
        "dropped": 0,
        "backends": [
            {"name": "hub", "state": "down", "active": False},
            {"name": "ghcr", "state": "up", "active": True},
        ],
    }


def test_several_events_have_the_worst_severity_and_each_text_once() -> None:
    notice = Event(EventKind.FAILBACK, Severity.NOTICE, "back")
    error = Event(EventKind.ALL_DOWN, Severity.ERROR, "ALL BACKENDS DOWN")
    document = compose(pending(notice, error, notice), Snapshot(PLAN, BOTH_DOWN, 20.0), ())
    assert (document.severity, document.text) == ("error", "back; ALL BACKENDS DOWN")
    assert [event.time for event in document.events] == [1000.25, 1001.25, 1002.25]


def test_a_degraded_backend_is_no_backend_that_is_up() -> None:
    state = evolve(ALL_UP, healths={**ALL_UP.healths, "hub": DEGRADED})
    document = compose(pending(), Snapshot(PLAN, state, 20.0), ())
    assert [backend.state for backend in document.backends] == ["degraded", "up"]


def test_what_had_no_room_is_counted_and_a_long_text_cut() -> None:
    long = Event(EventKind.CERTIFICATE_TROUBLE, Severity.WARNING, "x" * 2 * TEXT_LENGTH)
    document = compose(evolve(pending(long), dropped=7), Snapshot(PLAN, ALL_UP, 20.0), ())
    assert (document.dropped, len(document.text), len(document.events[0].text)) == (7, TEXT_LENGTH, TEXT_LENGTH)
