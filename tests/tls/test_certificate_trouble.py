"""Trouble with certificates: each line of the log that an operator is notified of, with its severity."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.policy.events import EventKind
from facaded.tls.overdue import LAST_PERIOD, UNMANAGED_WARNING
from facaded.tls.reminders import INTERVAL
from facaded.tls.watched_files import RETRY_INTERVAL
from tests.tls.authority import DAY, NOW, Authority, put
from tests.tls.served import CertificatesHarness


@implementer(ILogObserver)
@define
class Troubles:
    """The lines of the log that are notified, each with its level."""

    lines: list[tuple[LogLevel, str]] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event.get("event_kind") is EventKind.CERTIFICATE_TROUBLE:
            self.lines.append((event["log_level"], formatEvent(event)))


@pytest.fixture
def troubles(no_errors_are_logged: list[LogEvent]) -> Iterator[Troubles]:
    observer = Troubles()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)
    no_errors_are_logged.clear()


def test_a_certificate_that_nobody_renews_is_a_warning_and_then_an_error(
    authority: Authority, tmp_path: Path, troubles: Troubles
) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    ends = NOW + timedelta(seconds=UNMANAGED_WARNING + 2)
    put(files, *authority.issue("docker.lab.test", begins=NOW - 90 * DAY, ends=ends))
    harness = CertificatesHarness(files)
    harness.pass_time()
    assert troubles.lines == []
    harness.pass_time(5)
    ((level, line),) = troubles.lines
    assert level is LogLevel.warn
    assert line == (
        f"the certificate for docker.lab.test (Lab CA), from {files.chain} expires "
        f"{ends:%Y-%m-%d %H:%M} UTC and should have been renewed by now: renew it"
    )
    harness.clock.advance(INTERVAL)
    harness.pass_time(5)
    assert [level for level, _ in troubles.lines] == [LogLevel.warn] * 2, "again each day"
    harness.clock.advance(UNMANAGED_WARNING - LAST_PERIOD - INTERVAL)
    harness.pass_time(5)
    assert [level for level, _ in troubles.lines] == [LogLevel.warn] * 2 + [LogLevel.error], "in the last two days"
    harness.clock.advance(LAST_PERIOD)
    harness.pass_time(5)
    assert [level for level, _ in troubles.lines] == [LogLevel.warn] * 2 + [LogLevel.error] * 2
    assert troubles.lines[3][1].endswith(" has expired: renew it")


def test_files_that_cannot_be_used_are_a_warning(authority: Authority, tmp_path: Path, troubles: Troubles) -> None:
    files = authority.write(tmp_path, "docker.lab.test")
    harness = CertificatesHarness(files)
    files.chain.write_text("no certificate")
    harness.pass_time(int(RETRY_INTERVAL))
    ((level, line),) = troubles.lines
    assert level is LogLevel.warn
    assert line.endswith("the previous certificate stays in service")
