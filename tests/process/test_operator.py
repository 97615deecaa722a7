"""What an operator does in an outage: watches the status, gives reasons, fails back at once."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facaded.cli.status_watch import BEGIN, END
from tests.process.daemon import WAIT, Daemon, Registry, wait_until

COMMAND = [sys.executable, "-m", "facaded"]


def read_terminal(controller: int) -> str:
    """Return what a program writes to its terminal next."""
    ready, _, _ = select.select([controller], [], [], WAIT)
    assert ready, "nothing is written"
    return os.read(controller, 4096).decode()


def test_a_reason_is_in_the_status_the_log_and_the_state_file(daemon: Daemon) -> None:
    daemon.start()
    pinned = daemon.run("pin", "second", "--for", "2h", "--reason", "ticket 4711")
    assert pinned.stdout == "second is active: it is pinned for another 2 h (ticket 4711)\n"
    daemon.wait_until(lambda: "second is pinned (ticket 4711)" in daemon.log, "the log has it")
    assert daemon.run("drain", "main", "--reason", "slow").returncode == 0
    daemon.kill()
    daemon.start()
    assert daemon.status()["pins"]["second"]["reason"] == "ticket 4711"
    shown = daemon.run("status").stdout
    assert "second: pinned until" in shown
    assert "main: drained: slow" in shown
    refused = daemon.run("pin", "second", "--reason", "two\nlines")
    assert (refused.returncode, refused.stderr) == (
        2,
        "facaded: reason: use at most 200 printable characters, on one line\n",
    )


def test_failback_ends_the_wait(daemon: Daemon, main: Registry) -> None:
    daemon.settings = daemon.settings.replace('failback_after = "1s"', 'failback_after = "1h"')
    daemon.start()
    nothing = daemon.run("failback")
    assert (nothing.returncode, nothing.stdout) == (
        0,
        "main is active: it is the preferred backend and is up\nwarning: no backend was waiting for its failback\n",
    )
    main.mode = "500"
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    main.mode = "token"
    daemon.wait_until(lambda: "takes over in" in daemon.status()["why"], "main waits")
    result = daemon.run("failback")
    assert (result.returncode, result.stdout) == (
        0,
        "main is active again instead of second, for redirects and serving\n",
    )
    assert daemon.backend == "main"
    assert json.loads(daemon.run("failback", "--json").stdout)["moves"] == []


def test_a_watch_goes_on_over_a_restart_and_ends_cleanly(daemon: Daemon) -> None:
    daemon.start()
    output = daemon.directory / "watched"
    with output.open("wb") as stream:
        watch = subprocess.Popen([*COMMAND, "status", "--watch", "--config", daemon.config], stdout=stream)
    try:
        wait_until(lambda: output.read_text().count("main is active") >= 2, "two are printed")
        daemon.kill()
        wait_until(lambda: "no answer, this is the last one: not running" in output.read_text(), "it says so")
        daemon.start()
        watch.send_signal(signal.SIGINT)
        assert watch.wait(WAIT) == 0
    finally:
        watch.kill()
    assert "\x1b" not in output.read_text()
    assert output.read_text().endswith("\n")
    daemon.kill()
    assert daemon.run("status", "--watch").returncode == 1, "the first request must be answered"


def test_a_watch_on_a_terminal_is_in_place_and_restores_it(daemon: Daemon) -> None:
    daemon.start()
    controller, terminal = pty.openpty()
    environ = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    environ.pop("NO_COLOR", None)
    command = [*COMMAND, "status", "--watch", "--config", str(daemon.config)]
    watch = subprocess.Popen(command, stdout=terminal, stdin=terminal, env=environ)
    os.close(terminal)
    shown = ""
    try:
        while shown.count("main is active") < 2:
            shown += read_terminal(controller)
        watch.send_signal(signal.SIGINT)
        while "\x1b[?1049l" not in shown:
            shown += read_terminal(controller)
        assert watch.wait(WAIT) == 0
    finally:
        watch.kill()
        os.close(controller)
    assert shown.startswith("\x1b[?1049h")
    assert "\x1b[32mmain is active" in shown
    assert "Traceback" not in shown


def test_a_watch_that_is_suspended_leaves_the_terminal_to_the_shell(daemon: Daemon) -> None:
    daemon.start()
    controller, terminal = pty.openpty()
    command = [*COMMAND, "status", "--watch", "--config", str(daemon.config)]
    watch = subprocess.Popen(command, stdout=terminal, stdin=terminal, env=os.environ | {"TERM": "xterm"})
    os.close(terminal)
    shown = ""
    try:
        for number, sign in ((signal.SIGTSTP, BEGIN), (signal.SIGCONT, END), (signal.SIGINT, BEGIN), (0, END)):
            while sign not in shown:
                shown += read_terminal(controller)
            if number == signal.SIGCONT:
                wait_until(lambda: " T" in Path(f"/proc/{watch.pid}/stat").read_text(), "it has stopped")
            shown = shown.partition(sign)[2]
            watch.send_signal(number)
        assert watch.wait(WAIT) == 0
    finally:
        watch.kill()
        os.close(controller)


@pytest.mark.parametrize("command", [["manual"], ["manual", "operations"], ["example-config"], ["unit"], ["--help"]])
def test_files_are_printed_where_the_locale_has_ascii_alone(command: list[str]) -> None:
    environ = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    printed = subprocess.run([*COMMAND, *command], capture_output=True, env=environ, timeout=WAIT, check=False)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert printed.stdout.isascii()
