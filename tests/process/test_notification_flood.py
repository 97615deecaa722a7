"""Ten thousand events within a second, and a real command: a few runs, and every event is sent or counted."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, LogPublisher

from facaded.notifications import Notifications, NotificationTarget
from facaded.policy.events import EventKind
from facaded.policy.pending_events import MOST_EVENTS
from tests.watching import up

EVENTS, TURNS = 10_000, 100
"""Events in all, and in how many turns of the reactor they come."""

ERRORS = 10

REACTOR: Any = reactor


def log_event(number: int) -> dict[str, Any]:
    """Return an event of the log; a few are errors, early ones, which have to wait for long."""
    level = LogLevel.error if number % 50 == 1 and number < 50 * ERRORS else LogLevel.warn
    return {"log_level": level, "log_format": f"event {number}", "event_kind": EventKind.CERTIFICATE_TROUBLE}


def read_documents(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in directory.glob("*.json")]


@pytest_twisted.ensureDeferred
async def test_ten_thousand_events_in_a_second_are_a_few_runs_and_no_error_is_lost(tmp_path: Path) -> None:
    command = tmp_path / "notify"
    command.write_text(f"#!/bin/sh\ncat >{tmp_path}/$$.new && sleep 0.3 && mv {tmp_path}/$$.new {tmp_path}/$$.json\n")
    command.chmod(0o755)
    target = NotificationTarget((str(command),), {"PATH": os.environ["PATH"]})
    notifications = Notifications(REACTOR, time.time, up("main", "second").watch, LogPublisher(), target)
    notifications.startService()
    begun, longest_turn = time.monotonic(), 0.0
    for turn in range(TURNS):
        turn_begun = time.monotonic()
        for number in range(turn, EVENTS, TURNS):
            notifications(log_event(number))
        longest_turn = max(longest_turn, time.monotonic() - turn_begun)
        await deferLater(REACTOR, 0.0)
    assert time.monotonic() - begun < 1
    assert longest_turn < 0.1, "other connections are answered meanwhile"
    await deferLater(REACTOR, 4)
    documents = read_documents(tmp_path)
    assert 2 <= len(documents) <= 5
    assert max(len(document["events"]) for document in documents) <= MOST_EVENTS
    assert sum(len(document["events"]) + document["dropped"] for document in documents) == EVENTS
    events = [event for document in documents for event in document["events"]]
    assert sum(event["severity"] == "error" for event in events) == ERRORS
    await notifications.stopService()
