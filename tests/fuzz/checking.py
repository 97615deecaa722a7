"""Properties, and what every one of them must hold: nothing is logged as an error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer


@frozen
class Property:
    """What must hold for every example of a strategy: `check` raises if it does not.

    `quick_examples` is the number of examples in the quick subset, for which it has about a second.
    """

    name: str
    examples: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    quick_examples: int


def timers_left(clock: Clock) -> list[str]:
    """Return the timers that are set, except that of the log line for reached limits: no connection has set it."""
    calls = [str(call) for call in clock.getDelayedCalls()]
    return [call for call in calls if "ReachedLimits._write_line" not in call]


@contextmanager
def no_error_is_logged() -> Iterator[None]:
    """Fail if an error is logged in this block. Twisted logs exceptions in protocols instead of raising them."""
    errors: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            failure = event.get("log_failure")
            errors.append(f"{formatEvent(event)}\n{failure.getTraceback() if failure else ''}")

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not errors, errors[0]
