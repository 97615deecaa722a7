"""What every test is held to."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import settings
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

settings.register_profile("facaded", deadline=None)  # a busy machine is not a failure
settings.load_profile("facaded")


def pytest_collection_finish() -> None:
    """What is there before the tests is nobody's garbage: without it, a collection after each test is quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_errors_are_logged() -> Iterator[list[LogEvent]]:
    """Fail a test in which an error was logged, an unhandled Deferred's included: pytest would not notice.

    A test that expects one asks for this fixture and takes it out of the list.
    """
    errors: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    yield errors
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert [formatEvent(event) for event in errors] == []
