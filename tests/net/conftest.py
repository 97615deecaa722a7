"""Fixtures for the tests of the resolver."""

from collections.abc import Iterator

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.net.lookups import ScriptedResolver


@pytest.fixture
def resolver() -> ScriptedResolver:
    return ScriptedResolver()


@pytest.fixture
def log() -> Iterator[list[tuple[LogLevel, str]]]:
    """The level and text of each log event."""
    lines: list[tuple[LogLevel, str]] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append((event["log_level"], formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)
