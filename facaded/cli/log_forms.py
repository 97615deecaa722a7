"""The forms of the log: where it goes, and what an event looks like there, for people or for programs."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from twisted.logger import LogEvent, LogLevel, eventAsText, formatTime

from facaded.policy.events import Event, EventKind, Severity

TEXT_LENGTH = 8000
"""Characters of a message, and of a traceback's end, in JSON: a reader of lines must not need more than 16 KiB."""

FIELD_LENGTH = 200
"""Characters of any other value."""

DEBUG = 7
CRITICAL = 2
"""Severities beyond those of `Severity`, by syslog's numbers."""

SEVERITIES: Mapping[LogLevel | None, int] = {
    LogLevel.debug: DEBUG,
    LogLevel.info: Severity.INFO,
    LogLevel.warn: Severity.WARNING,
    LogLevel.error: Severity.ERROR,
    LogLevel.critical: CRITICAL,
}
"""The severity of an event that does not say it."""

WORDS = {CRITICAL: "critical", 3: "error", 4: "warning", 5: "notice", 6: "info", DEBUG: "debug"}
"""The name of each severity."""

FIELDS = {"backend": "backend", "limit": "limit", "names": "certificate", "certificate": "certificate"}
"""Values of an event that are fields of their own in JSON, with the names that they have there."""

INDENT = "  "
"""Before each further line of an event, which therefore cannot be taken for another event."""


class Place(Enum):
    """Where the log goes."""

    JOURNAL = "journal"
    TERMINAL = "terminal"
    FILE = "file"


def find_place(descriptor: int, environ: Mapping[str, str]) -> Place:
    """Return what `descriptor` leads to.

    It is the journal if JOURNAL_STREAM has its device and inode: sd-daemon(3). A process whose output was redirected
    inherits that variable too.
    """
    status = os.fstat(descriptor)
    if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return Place.JOURNAL
    return Place.TERMINAL if os.isatty(descriptor) else Place.FILE


def severity_of(event: LogEvent) -> int:
    """Return how bad an event is, by syslog's numbers."""
    severity = event.get("severity")
    return int(severity) if isinstance(severity, Severity) else SEVERITIES.get(event.get("log_level"), Severity.INFO)


def format_text(event: LogEvent, place: Place) -> str:
    """Return an event for people, as one or more lines; empty if it says nothing.

    In the journal, each line has the event's priority, and no time: the journal adds that. Elsewhere, the first one
    begins with the time, and with the severity unless it is info.
    """
    severity = severity_of(event)
    lines = eventAsText(event, includeTimestamp=False, includeSystem=False).splitlines()
    if not lines:
        return ""
    if place is Place.JOURNAL:
        mark, first = f"<{severity}>", ""
    else:
        moment = event.get("log_time")
        time_text = _time_of_day(moment) if place is Place.TERMINAL else formatTime(moment)
        mark, first = "", f"{time_text} " if severity == Severity.INFO else f"{time_text} {WORDS[severity]}: "
    return f"{mark}{first}{lines[0]}\n" + "".join(f"{mark}{INDENT}{line}\n" for line in lines[1:])


def format_json(event: LogEvent, place: Place) -> str:
    """Return an event for programs, as one line; empty if it says nothing. In the journal it has a priority too."""
    severity = severity_of(event)
    failure = event.get("log_failure")
    message = eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)
    if not message and failure is None:
        return ""
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds")
    values: dict[str, object] = {
        "time": moment.replace("+00:00", "Z"),
        "level": WORDS[severity],
        "message": message[:TEXT_LENGTH],
        **{name: str(event[key])[:FIELD_LENGTH] for key, name in FIELDS.items() if key in event},
        **_kinds(event),
    }
    if failure is not None:
        values["traceback"] = failure.getTraceback()[-TEXT_LENGTH:]
    return f"{prefix(place, severity)}{json.dumps(values)}\n"


def prefix(place: Place, severity: int) -> str:
    """Return what a line begins with: its priority in the journal."""
    return f"<{severity}>" if place is Place.JOURNAL else ""


def _kinds(event: LogEvent) -> dict[str, object]:
    """Return what has happened: the kind of the event, or of the worst one of a change, and all of that."""
    kind = event.get("event_kind")
    listed: tuple[Event, ...] = event.get("change_events", ())
    if not listed:
        return {"event": kind.value} if isinstance(kind, EventKind) else {}
    worst = min(listed, key=lambda one: one.severity)
    fields: dict[str, object] = {"event": worst.kind.value}
    if worst.backend:
        fields["backend"] = worst.backend
    return fields | {"events": [{"event": one.kind.value, "backend": one.backend} for one in listed]}


def _time_of_day(moment: float | None) -> str:
    return datetime.fromtimestamp(moment or 0.0).astimezone().strftime("%H:%M:%S")
