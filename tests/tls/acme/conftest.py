"""The client under test, and what it logs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.tls.acme.memory import Begin, Serving


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def begin(tmp_path: Path, log: list[str]) -> Iterator[Begin]:
    """Puts a service together; at the end nothing is shown any more, and no secret is in the log."""
    made: list[Serving] = []

    def start(*names: str, **settings: Any) -> Serving:
        made.append(Serving.begin(tmp_path, *names, **settings))
        return made[-1]

    yield start
    for each in made:
        each.acme.stopService()
        assert (each.shown.http, each.shown.alpn) == ({}, {})
        for path in each.directory.rglob("*.pem*"):
            secrets = path.read_text().split("-----END PRIVATE")[0].splitlines()[1:]
            assert not [line for line in log for secret in secrets if secret in line]
    assert all(line.isprintable() for line in log if "Traceback" not in line)
