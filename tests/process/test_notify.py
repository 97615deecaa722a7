"""[notify] command of a daemon: what it gets in an outage, that it delays nobody, and what a stop does to it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import Daemon, Registry
from tests.process.receiver import Receiver

CURL = ["/usr/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "10", "--data-binary", "@-"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as receiver:
        yield receiver


def set_command(daemon: Daemon, *command: str) -> None:
    daemon.settings = f"{daemon.settings}\n[notify]\ncommand = {json.dumps(command)}\n"


def script(daemon: Daemon, text: str) -> Path:
    path = daemon.directory / "notify"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_an_outage_is_posted_from_its_beginning_to_its_end(
    daemon: Daemon, main: Registry, second: Registry, receiver: Receiver
) -> None:
    set_command(daemon, *CURL, f"http://127.0.0.1:{receiver.port}/hook")
    daemon.settings = f'hosts = ["docker.lab.test", "127.0.0.1"]\n{daemon.settings}'
    daemon.start()
    begun = time.time()
    main.stop()
    daemon.wait_until(lambda: "failover" in receiver.kinds, "failover")
    document = receiver.documents[0]
    assert (document["schema"], document["hosts"]) == (1, ["docker.lab.test", "127.0.0.1"])
    (event,) = document["events"]
    assert event["text"].startswith("second is active: main is down (GET /v2/: connection refused")
    assert (event["severity"], event["backend"]) == ("warning", "second")
    assert begun - 1 < event["time"] < time.time() + 1
    assert document["backends"] == [
        {"name": "main", "state": "down", "active": False},
        {"name": "second", "state": "up", "active": True},
    ]
    second.stop()
    daemon.wait_until(lambda: "all down" in receiver.kinds, "all down")
    document = receiver.documents[-1]
    assert document["severity"] == "error"
    assert document["text"] == "ALL BACKENDS DOWN (main: connection refused; second: connection refused)"
    daemon.wait_for_log(document["text"])
    second.start()
    daemon.wait_until(lambda: "all down ended" in receiver.kinds, "the end of it")
    main.start()
    daemon.wait_until(lambda: "failback" in receiver.kinds, "failback")
    assert "notify.command" not in daemon.log


def test_a_command_that_never_ends_delays_no_answer_and_no_stop(daemon: Daemon) -> None:
    set_command(daemon, str(script(daemon, f"trap '' TERM; echo $$ >{daemon.directory}/pid; sleep 1000; sleep 1000")))
    daemon.start()
    assert daemon.run("pin", "second").returncode == 0
    pid = daemon.directory / "pid"
    daemon.wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the command runs")
    slowest = 0.0
    for _ in range(200):
        begun = time.monotonic()
        assert daemon.backend == "second"
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 0.25
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert 1.5 < time.monotonic() - begun < 5
    assert "notify.command: it was killed, because it ran for 2 s after facaded's stop" in daemon.log
    assert not Path(f"/proc/{int(pid.read_text())}").exists()


def test_a_command_that_fails_is_a_warning_and_the_next_event_runs_it_again(daemon: Daemon) -> None:
    set_command(daemon, str(script(daemon, "echo 'no route to the pager' >&2; exit 1")))
    daemon.start()
    sentence = "notify.command: it exited with status 1; not sent: 1 event; its standard error: no route to the pager"
    assert daemon.run("pin", "second").returncode == 0
    daemon.wait_for_log(sentence)
    assert daemon.run("unpin").returncode == 0
    daemon.wait_for_log(sentence, times=2)


def test_a_program_that_is_missing_fails_the_check_and_is_a_warning_to_the_daemon(daemon: Daemon) -> None:
    set_command(daemon, "/nonexistent/notify")
    daemon.write_settings()
    sentence = (
        "notify.command: there is no program /nonexistent/notify on this machine: install it, or correct the path"
    )
    checked = daemon.run("check")
    assert checked.returncode == 2
    assert checked.stderr.startswith(f"facaded: {daemon.config}:")
    assert checked.stderr.endswith(f": {sentence}\n")
    daemon.start()
    daemon.wait_for_log(sentence)
    daemon.run("pin", "second")
    daemon.wait_until(lambda: "it cannot be started (No such file or directory)" in daemon.log, "the run fails")
    good = script(daemon, f"cat >{daemon.directory}/document.new; mv {daemon.directory}/document.new $0.json")
    daemon.write_settings(daemon.settings.replace("/nonexistent/notify", str(good)))
    assert daemon.run("check").returncode == 0
    assert daemon.run("reload").returncode == 0
    assert daemon.run("unpin").returncode == 0
    daemon.wait_until((daemon.directory / "notify.json").exists, "the new command runs")
