"""The log of `facaded serve`: events at once, and the lines of the access log before them."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import FilteringLogObserver, ILogObserver, LogEvent, Logger, LogLevel, LogLevelFilterPredicate
from zope.interface import implementer

from facaded.cli.log_forms import Place, format_json, format_text, prefix
from facaded.policy.events import Severity
from facaded.web.accesslog import LineForm, LogStyle

END_TIME = 2.0
"""Seconds that the last lines have to be written when facaded stops."""

REPORT_INTERVAL = 60.0
"""Least seconds between two warnings about lost lines."""


class Writer(Protocol):
    """What writes the log; see `LineWriter`."""

    @property
    def lost_lines(self) -> int:
        """How many lines were lost since the start."""

    @property
    def is_free(self) -> bool:
        """Whether all lines have been written that were not lost."""

    def put_lines(self, text: bytes) -> None:
        """Write lines of the access log."""

    def put_event(self, text: bytes) -> None:
        """Write other lines."""

    def end(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most."""


@implementer(ILogObserver)
class LogOutput:
    """Writes the log: facaded's own messages from `info` on, those of its libraries from `warn` on.

    It is an `AccessOutput`. `place` is where the `writer` writes, and `wall` returns seconds since the epoch.
    """

    _log = Logger()

    def __init__(
        self, writer: Writer, place: Place, clock: IReactorTime, wall: Callable[[], float] = time.time
    ) -> None:
        levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
        levels.setLogLevelForNamespace("facaded", LogLevel.info)
        self.observer = FilteringLogObserver(self, [levels])
        self._writer = writer
        self._place = place
        self._clock = clock
        self._wall = wall
        self._format = format_text
        self._access_prefix = prefix(place, Severity.INFO)
        self._separator = f"\n{self._access_prefix}"
        self._flush = _flush_nothing
        self._reported, self._reported_at = 0, -REPORT_INTERVAL
        self._losing_since: float | None = None

    @property
    def lost_lines(self) -> int:
        """How many lines could not be written since the start: a disk was full, or nobody read them."""
        return self._writer.lost_lines

    def form_for(self, style: LogStyle) -> LineForm:
        """Return the form of access lines in this style."""
        if style is LogStyle.JSON:
            return LineForm.JSON
        return LineForm.UNTIMED if self._place is Place.JOURNAL else LineForm.COMMON

    def reconfigure(self, style: LogStyle) -> None:
        """Write events in another style from now on."""
        self._format = format_json if style is LogStyle.JSON else format_text

    def add_lines(self, lines: Sequence[str]) -> None:
        """Write lines of the access log."""
        self._report_losses()  # which asks whether all earlier lines have been written
        text = f"{self._access_prefix}{self._separator.join(lines)}\n"
        self._writer.put_lines(text.encode("ascii", "backslashreplace"))

    def let_precede(self, flush: Callable[[], None]) -> None:
        """Call `flush`, which adds lines that wait, before each event, and at the end."""
        self._flush = flush

    def close(self) -> None:
        """Write everything that waits, for `END_TIME` at most."""
        self._flush()
        self._writer.end(END_TIME)

    def __call__(self, event: LogEvent) -> None:
        """Write an event, after the lines that wait; part of ILogObserver."""
        self._flush()
        self._report_losses()
        if text := self._format(event, self._place):
            self._writer.put_event(text.encode("utf-8", "backslashreplace"))

    def _report_losses(self) -> None:
        """Warn about lost lines as soon as others can be written again, or after a while: events have room left."""
        lost, now = self._writer.lost_lines - self._reported, self._clock.seconds()
        if not lost:
            return
        if self._losing_since is None:
            self._losing_since = now
        is_over = self._writer.is_free or now - self._losing_since >= REPORT_INTERVAL
        if not is_over or now - self._reported_at < REPORT_INTERVAL:
            return
        self._reported, self._reported_at, self._losing_since = self._reported + lost, now, None
        self._log.warn(
            "{lost} lines of the log are lost: the disk was full, or what reads the log was too slow", lost=lost
        )


def _flush_nothing() -> None:
    """Do nothing: no lines wait anywhere."""
