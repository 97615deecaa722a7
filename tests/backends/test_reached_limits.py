"""The limits that were reached: the counts, and at most one log line a minute for each."""

import errno
import os
from collections.abc import Iterator

import pytest
from attrs import evolve
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.backends.reached_limits import ReachedLimit, ReachedLimits
from facaded.net.client import describe_error
from facaded.policy.health import State, Verdict
from facaded.policy.limits import Limit
from facaded.policy.sources import Addresses
from tests.watching import BAD, up


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log lines so far."""
    written: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        written.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield written
    globalLogPublisher.removeObserver(observe)


def test_the_first_time_is_logged_at_once_and_further_ones_once_a_minute(lines: list[str]) -> None:
    clock = Clock()
    reached = ReachedLimits(clock)
    for _ in range(10_000):
        reached.note(Limit.CONNECTIONS, "192.0.2.7")
    assert lines == ["limit reached: connections, by 192.0.2.7"]
    clock.advance(60)
    assert lines[1:] == ["limit reached: connections, by 192.0.2.7; 9999 times in the last minute"]
    clock.advance(600)
    assert len(lines) == 2
    assert clock.getDelayedCalls() == []
    reached.note(Limit.CONNECTIONS, "192.0.2.8")
    assert lines[2:] == ["limit reached: connections, by 192.0.2.8"]


def test_a_masked_address_is_masked_in_the_log_and_not_in_the_status(lines: list[str]) -> None:
    reached = ReachedLimits(Clock())
    reached.reconfigure(Addresses.MASKED)
    reached.note(Limit.CONNECTIONS, "192.0.2.7")
    reached.note(Limit.LOCAL, "main (no route to host)")
    assert [line.partition(", by ")[2] for line in lines] == ["192.0.2.0", "main (no route to host)"]
    assert reached.all()[Limit.CONNECTIONS].subject == "192.0.2.7"


def test_every_limit_is_counted_for_itself(lines: list[str]) -> None:
    clock = Clock()
    reached = ReachedLimits(clock)
    reached.note(Limit.CONNECTIONS, "192.0.2.7")
    clock.advance(5)
    reached.note(Limit.UNSENT_BYTES, "x" * 1000)
    assert reached.all() == {
        Limit.CONNECTIONS: ReachedLimit(1, 0.0, "192.0.2.7"),
        Limit.UNSENT_BYTES: ReachedLimit(1, 5.0, "x" * 80),
    }
    assert len(lines) == 2


def test_times_that_another_process_counted_are_added(lines: list[str]) -> None:
    reached = ReachedLimits(Clock())
    reached.add(Limit.CONNECTIONS, 3, "192.0.2.7")
    reached.note(Limit.CONNECTIONS, "192.0.2.8")
    assert reached.all()[Limit.CONNECTIONS] == ReachedLimit(4, 0.0, "192.0.2.8")
    assert lines == ["limit reached: connections, by 192.0.2.7; 3 times in the last minute"]


@pytest.mark.parametrize(
    ("number", "limit"),
    [(errno.EMFILE, Limit.DESCRIPTORS), (errno.ENFILE, Limit.DESCRIPTORS), (errno.ENETUNREACH, Limit.LOCAL)],
)
def test_a_probe_that_fails_because_of_this_machine_is_counted_and_no_failure(number: int, limit: Limit) -> None:
    watching = up("hub")
    watching.advance(10)
    reason = describe_error(OSError(number, os.strerror(number)))
    watching.backends.answer("hub", evolve(BAD, verdict=Verdict.LOCAL, reason=reason))
    assert watching.watch.reached_limits.all().keys() == {limit}
    assert watching.watch.reached_limits.all()[limit].subject == f"hub ({reason})"
    assert watching.watch.watch_state.healths["hub"].state is State.UP


def test_no_timer_is_left_after_a_stop() -> None:
    clock = Clock()
    reached = ReachedLimits(clock)
    reached.note(Limit.CONNECTIONS, "192.0.2.7")
    reached.note(Limit.LOCAL, "main")
    reached.stop()
    assert clock.getDelayedCalls() == []
