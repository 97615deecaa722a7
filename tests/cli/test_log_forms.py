"""The forms of the log: priorities in the journal, words elsewhere, and JSON; and how the journal is recognised."""

import json
import os
import re
import socket
from pathlib import Path

import pytest
from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure

from facaded.cli.log_forms import FIELD_LENGTH, TEXT_LENGTH, Place, find_place, format_json, format_text, severity_of
from facaded.policy.events import Event, EventKind, Severity

NOON = 1_790_000_000.25


def event(text: str, level: LogLevel = LogLevel.info, **values: object) -> LogEvent:
    return {"log_format": "{text}", "text": text, "log_level": level, "log_time": NOON, **values}


def failure() -> Failure:
    try:
        raise ValueError("broken\n<0>forged")
    except ValueError:
        return Failure()


@pytest.mark.parametrize(
    ("level", "severity", "priority", "word"),
    [
        (LogLevel.critical, None, "<2>", "critical: "),
        (LogLevel.error, None, "<3>", "error: "),
        (LogLevel.error, Severity.ERROR, "<3>", "error: "),
        (LogLevel.warn, None, "<4>", "warning: "),
        (LogLevel.info, Severity.NOTICE, "<5>", "notice: "),
        (LogLevel.info, None, "<6>", ""),
        (LogLevel.debug, None, "<7>", "debug: "),
    ],
)
def test_an_event_has_its_severity_in_every_form(
    level: LogLevel, severity: Severity | None, priority: str, word: str
) -> None:
    happened = event("main is up", level, **({} if severity is None else {"severity": severity}))
    assert format_text(happened, Place.JOURNAL) == f"{priority}main is up\n"
    assert re.fullmatch(rf"\d\d:\d\d:20 {word}main is up\n", format_text(happened, Place.TERMINAL))
    assert re.fullmatch(rf"2026-09-2\dT\d\d:\d\d:20[+-]\d{{4}} {word}main is up\n", format_text(happened, Place.FILE))
    document = json.loads(format_json(happened, Place.FILE))
    assert document == {
        "time": "2026-09-21T14:13:20.250Z",
        "level": word.removesuffix(": ") or "info",
        "message": "main is up",
    }
    assert format_json(happened, Place.JOURNAL) == priority + format_json(happened, Place.FILE)
    assert severity_of(happened) == int(priority[1])


def test_a_traceback_is_indented_and_each_of_its_lines_has_the_priority() -> None:
    text = format_text(event("failed", LogLevel.critical, log_failure=failure()), Place.JOURNAL)
    first, second, *rest = text.splitlines()
    assert (first, second) == ("<2>failed", "<2>  Traceback (most recent call last):")
    assert all(line.startswith("<2>  ") for line in rest), "nothing can be forged"
    assert "<2>  <0>forged" in rest


@pytest.mark.parametrize("place", [Place.TERMINAL, Place.FILE])
def test_further_lines_are_indented_so_that_they_are_no_events(place: Place) -> None:
    first, *rest = format_text(event("one\n12:00:00 two\r\nthree"), place).splitlines()
    assert first.endswith(" one")
    assert rest == ["  12:00:00 two", "  three"]


def test_a_traceback_is_a_field_in_json() -> None:
    line = format_json(event("failed", LogLevel.critical, log_failure=failure()), Place.FILE)
    assert line.count("\n") == 1
    document = json.loads(line)
    assert document["message"] == "failed"
    assert "ValueError: broken\n<0>forged" in document["traceback"]


def test_json_has_the_backend_and_the_kinds_of_a_change() -> None:
    events = (
        Event(EventKind.UP, Severity.NOTICE, "second is up", "second"),
        Event(EventKind.DOWN, Severity.WARNING, "main is down", "main"),
    )
    document = json.loads(format_json(event("main is down", LogLevel.warn, change_events=events), Place.FILE))
    assert (document["event"], document["backend"]) == ("down", "main")
    assert document["events"] == [{"event": "up", "backend": "second"}, {"event": "down", "backend": "main"}]
    all_down = (Event(EventKind.ALL_DOWN, Severity.ERROR, "ALL BACKENDS DOWN"),)
    document = json.loads(format_json(event("x", change_events=all_down), Place.FILE))
    assert (document["event"], "backend" in document) == ("all down", False)
    assert "event" not in json.loads(format_json(event("x", change_events=()), Place.FILE))


def test_json_has_the_subject_of_other_events() -> None:
    trouble = event("x", event_kind=EventKind.CERTIFICATE_TROUBLE, events="2 events")
    assert json.loads(format_json(trouble, Place.FILE))["event"] == "certificate trouble"
    document = json.loads(
        format_json(event("x", backend="main", event_kind=None, limit="connections", names="a.test"), Place.FILE)
    )
    assert [document[key] for key in ("backend", "limit", "certificate")] == ["main", "connections", "a.test"]


def test_json_is_bounded_and_ascii() -> None:
    line = format_json(event("\u20ac\n" * 100_000, backend="b" * 1000, log_failure=failure()), Place.FILE)
    document = json.loads(line)
    assert (len(document["message"]), len(document["backend"])) == (TEXT_LENGTH, FIELD_LENGTH)
    assert line.isascii()
    assert line.count("\n") == 1


def test_an_event_that_says_nothing_has_no_line() -> None:
    assert format_text({"log_format": ""}, Place.FILE) == ""
    assert format_json({"log_format": ""}, Place.FILE) == ""


def test_the_journal_is_recognised_by_its_device_and_inode(tmp_path: Path) -> None:
    journal, other = socket.socketpair()
    with journal, other, (tmp_path / "log").open("w") as file:
        status = os.fstat(journal.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert find_place(journal.fileno(), environ) is Place.JOURNAL
        assert find_place(other.fileno(), environ) is Place.FILE
        assert find_place(file.fileno(), environ) is Place.FILE, "redirected, but the variable is inherited"
        assert find_place(journal.fileno(), {}) is Place.FILE
        for text in ("", ":", "x:y", f"{status.st_dev}", f"{status.st_dev}:{status.st_ino}:"):
            assert find_place(journal.fileno(), {"JOURNAL_STREAM": text}) is Place.FILE
