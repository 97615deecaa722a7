"""What is reported to the service manager at a stop, and to its watchdog."""

import pytest
from twisted.internet.task import Clock

from facaded.state import Clocks
from facaded.systemd import LEAST_INTERVAL, Supervision, Watchdog, watchdog_interval
from tests.watching import Watching


def stopped(stop_delay: float) -> tuple[Supervision, list[str]]:
    messages: list[str] = []
    supervision = Supervision(messages.append, Watching.begin("main").watch, lambda: Clocks(0, 0), stop_delay)
    supervision.stopService()
    return supervision, messages


def test_a_stop_is_reported_and_the_daemon_is_not_ready() -> None:
    supervision, messages = stopped(0)
    assert messages == ["STOPPING=1"]
    assert supervision.why_not_ready() == "stopping"


def test_a_stop_with_a_delay_asks_for_the_time_that_it_needs() -> None:
    assert stopped(20)[1] == ["STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000"]


def test_no_reload_is_reported_after_a_stop() -> None:
    supervision, messages = stopped(0)
    supervision.reloading()
    supervision.reloaded()
    assert messages == ["STOPPING=1"]


PID = 77


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
        ({"WATCHDOG_USEC": "1"}, LEAST_INTERVAL),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "30s"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
    ],
)
def test_the_watchdog_is_told_twice_within_its_time(environ: dict[str, str], interval: float | None) -> None:
    assert watchdog_interval(environ, PID) == interval


def reports(interval: float | None, seconds: int) -> int:
    """Return how many messages the watchdog gets until the daemon has stopped."""
    clock, messages = Clock(), list[str]()
    watchdog = Watchdog(clock, messages.append, interval)
    watchdog.startService()
    clock.pump([1.0] * seconds)
    watchdog.stopService()
    clock.pump([1.0] * seconds)
    assert not clock.getDelayedCalls()
    assert set(messages) <= {"WATCHDOG=1"}
    return len(messages)


def test_the_watchdog_is_told_from_the_start_until_the_stop() -> None:
    assert reports(15.0, 60) == 5
    assert reports(15.0, 0) == 1


def test_without_a_watchdog_nothing_is_reported() -> None:
    assert reports(None, 60) == 0
