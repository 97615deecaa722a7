"""What is reported to the service manager at a stop."""

from facaded.state import Clocks
from facaded.systemd import Supervision
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
