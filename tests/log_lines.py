"""The lines of the log, for tests."""

import contextlib
from collections.abc import Callable, Iterator

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer


@contextlib.contextmanager
def log_lines(counts: Callable[[LogEvent], bool] = lambda event: True) -> Iterator[list[str]]:
    """Collect the texts of the events that count, as they are logged."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if counts(event):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


def is_warning(event: LogEvent) -> bool:
    return event.get("log_level") is LogLevel.warn
