"""The log of `facaded serve`: events as they come, and the lines of the access log in one write for each turn."""

import contextlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    formatTime,
)

BATCH = 500
"""Most lines that wait to be written: some 40 kB."""

_PRIORITIES = {LogLevel.critical: "<2>", LogLevel.error: "<3>", LogLevel.warn: "<4>", LogLevel.info: "<6>"}
"""The prefix by which the journal recognises a line's priority: sd-daemon(3)."""


class LogOutput:
    """Writes the log to `stream`: facaded's own messages from `info` on, those of its libraries from `warn` on.

    Lines for the journal have a priority instead of a time: the journal adds the time. `wall` returns seconds since the
    epoch.
    """

    def __init__(self, stream: TextIO, clock: IReactorTime, wall: Callable[[], float] = time.time) -> None:
        levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
        levels.setLogLevelForNamespace("facaded", LogLevel.info)
        self._stream = stream
        self._clock = clock
        self._wall = wall
        self._to_journal = "JOURNAL_STREAM" in os.environ
        self._lines: list[str] = []
        self.observer = FilteringLogObserver(FileLogObserver(stream, self._format_event), [levels])

    def add_line(self, line: str) -> None:
        """Write a line of the access log, at the end of the reactor's turn or before the next event."""
        if not self._lines:
            self._clock.callLater(0, self.flush)
        self._lines.append(line)
        if len(self._lines) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write the lines that wait. They are lost if that fails: a full disk must not keep clients from an answer."""
        lines, self._lines = self._lines, []
        if lines:
            prefix = "<6>" if self._to_journal else _stamp(int(self._wall()))
            with contextlib.suppress(OSError):
                self._stream.write("".join([f"{prefix}{line}\n" for line in lines]))
                self._stream.flush()

    def _format_event(self, event: LogEvent) -> str:
        self.flush()
        text = eventAsText(event, includeTimestamp=not self._to_journal, includeSystem=False)
        prefix = _PRIORITIES.get(event.get("log_level", LogLevel.info), "<6>") if self._to_journal else ""
        return "".join(f"{prefix}{line}\n" for line in text.splitlines())


@lru_cache(maxsize=1)
def _stamp(second: int) -> str:
    """Return the time at the beginning of a line, as Twisted writes it."""
    return f"{formatTime(second)} "
