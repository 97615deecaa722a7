"""Reminders: what is repeated in the log each day until somebody acts."""

from collections.abc import Callable, Hashable

from twisted.logger import Logger, LogLevel

from facaded.policy.events import EventKind, Severity

INTERVAL = 86400.0
"""Seconds between two reminders of the same trouble."""


class Reminders:
    """Logs troubles with certificates: at once, each day, and when they get worse.

    `now` returns seconds since the epoch.
    """

    def __init__(self, log: Logger, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._logged: dict[Hashable, tuple[Severity, float]] = {}

    def remind(self, subject: Hashable, severity: Severity, text: str) -> None:
        """Log a trouble with `subject`, unless that has been logged within a day."""
        now = self._now()
        previous, at = self._logged.get(subject, (Severity.INFO, 0.0))
        if severity >= previous and at <= now < at + INTERVAL:
            return
        self._logged[subject] = severity, now
        level = LogLevel.error if severity is Severity.ERROR else LogLevel.warn
        self._log.emit(level, "{text}", text=text, event_kind=EventKind.CERTIFICATE_TROUBLE)

    def forget(self, subject: Hashable) -> None:
        """Note that the trouble with `subject` is over."""
        self._logged.pop(subject, None)
