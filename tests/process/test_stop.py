"""A stop with a delay: load balancers are told, clients are still answered, and the process ends well."""

import signal

import pytest

from tests.process.daemon import WAIT, Daemon


@pytest.fixture
def stopping(daemon: Daemon) -> Daemon:
    """A daemon that got SIGTERM and goes on answering for a while."""
    daemon.settings = f'stop_delay = "2s"\n{daemon.settings}'
    daemon.start()
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_until(lambda: daemon.get("/readyz", port=daemon.admin)[0] == 503, "not ready", 1)
    return daemon


def test_clients_are_answered_during_the_delay(stopping: Daemon) -> None:
    def is_closing() -> bool:
        """Return whether a few connections, which reach all processes, are closed after their answer."""
        answers = [stopping.get("/v2/") for _ in range(10)]
        assert {status for status, _, _ in answers} == {307}
        return all(headers.get("Connection") == "close" for _, headers, _ in answers)

    stopping.wait_until(is_closing, "all processes have heard of the stop", 1)
    assert stopping.get("/livez", port=stopping.admin)[0] == 200
    assert stopping.control("GET", "/status") == 200
    assert stopping.process is not None
    assert stopping.process.wait(WAIT) == 0


def test_a_second_signal_ends_the_delay(stopping: Daemon) -> None:
    assert stopping.process is not None
    stopping.process.send_signal(signal.SIGTERM)
    assert stopping.process.wait(1) == 0
