"""Renewals that are overdue: in the status, and in the log each day."""

from collections.abc import Iterator

import pytest
from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.policy.events import EventKind, Severity
from facaded.tls import overdue
from facaded.tls.acme.schedule import DAY, HOUR
from facaded.tls.window import Window
from tests.tls.acme.memory import EPOCH, CreateHarness

VALIDITY = Window(EPOCH, EPOCH + 90 * DAY)


@implementer(ILogObserver)
@define
class LevelLog:
    """The levels of what is logged of overdue renewals, as trouble with certificates."""

    levels: list[LogLevel] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event.get("event_kind") is EventKind.CERTIFICATE_TROUBLE and "is overdue" in formatEvent(event):
            self.levels.append(event["log_level"])


@pytest.fixture
def troubles(no_errors_are_logged: list[LogEvent]) -> Iterator[LevelLog]:
    observer = LevelLog()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)
    no_errors_are_logged.clear()


@pytest.mark.parametrize(
    ("days", "due", "expected"),
    [
        (60, 60.0, None),
        (69.9, 60.0, None),
        (70, 60.0, Severity.WARNING),
        (87.9, 60.0, Severity.WARNING),
        (88, 60.0, Severity.ERROR),
        (82.9, None, None),
        (83, None, Severity.WARNING),
        (88, None, Severity.ERROR),
    ],
)
def test_a_renewal_is_overdue_after_a_third_of_its_window(
    days: float, due: float | None, expected: Severity | None
) -> None:
    at = None if due is None else EPOCH + due * DAY
    assert overdue.severity(VALIDITY, at, EPOCH + days * DAY) is expected


def test_the_last_quarter_of_a_short_life_is_an_error() -> None:
    day = Window(EPOCH, EPOCH + DAY)
    assert overdue.severity(day, EPOCH + 16 * HOUR, EPOCH + 18 * HOUR) is None
    assert overdue.severity(day, EPOCH + 16 * HOUR, EPOCH + 19 * HOUR) is Severity.ERROR


def test_it_is_in_the_status_and_in_the_log_each_day(create: CreateHarness, troubles: LevelLog) -> None:
    harness = create().start()
    due = harness.status["due"]
    assert due == harness.status["next_renewal"]
    harness.ca.down = True
    harness.network.sleep(68 * DAY)
    assert harness.status["due"] == due
    assert (harness.status["overdue"], troubles.levels) == (False, [])
    harness.network.sleep(3 * DAY)
    assert harness.status["overdue"]
    harness.network.sleep(15 * DAY)
    warnings = len(troubles.levels)
    assert 15 <= warnings <= 18
    assert {*troubles.levels} == {LogLevel.warn}
    harness.network.sleep(3 * DAY)
    assert troubles.levels[-1] is LogLevel.error
    assert 1 <= troubles.levels.count(LogLevel.error) <= 2
    harness.ca.down = False
    harness.network.sleep(DAY / 2)
    assert not harness.status["overdue"]


def test_the_suggestion_of_the_ca_is_in_the_status(create: CreateHarness) -> None:
    harness = create()
    assert harness.status["suggested_from"] is None
    harness.ca.window = (10 * DAY, 11 * DAY)
    harness.start()
    status = harness.status
    assert status["suggested_from"] == pytest.approx(EPOCH + 10 * DAY, abs=60)
    assert status["suggested_until"] == status["suggested_from"] + DAY
    assert status["suggested_from"] <= status["due"] <= status["suggested_until"]
