"""What the tests of the resolver share."""

from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.net.lookups import System


@pytest.fixture
def system() -> System:
    return System()


@pytest.fixture
def log() -> Iterator[list[tuple[LogLevel, str]]]:
    """What was logged."""
    lines: list[tuple[LogLevel, str]] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)
