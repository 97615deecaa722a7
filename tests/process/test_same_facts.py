"""An outage of both registries, and the return of one: log, metrics, /statusz, notification and status agree."""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.process.daemon import Daemon, Registry
from tests.process.receiver import Receiver

OUTAGE = "ALL BACKENDS DOWN (main: connection refused; second: connection refused)"

AT_ONCE = 2.0
"""Seconds within which all of them tell of a change: a command is started at most once a second."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as receiver:
        yield receiver


def test_a_start_in_an_outage_tells_it_once(daemon: Daemon, main: Registry, second: Registry) -> None:
    main.stop()
    second.stop()
    daemon.start()
    daemon.wait_until(lambda: "main is active: " in daemon.log, "the start is over")
    assert daemon.log.count("ALL BACKENDS DOWN (") == 1


class Told:
    """What each of them tells now."""

    def __init__(self, daemon: Daemon, receiver: Receiver) -> None:
        code, _, body = daemon.get("/statusz", port=daemon.admin, host="127.0.0.1")
        self.statusz = code, body.decode().strip()
        metrics = daemon.get("/metrics", port=daemon.admin, host="127.0.0.1")[2].decode()
        self.all_down = re.search(r"^facaded_all_backends_down ([\d.]+)$", metrics, re.MULTILINE)[1]  # type: ignore[index]
        rows = re.findall(r'^facaded_backend_state\{backend="(\w+)",state="(\w+)"\} 1\.0$', metrics, re.MULTILINE)
        self.states = dict(rows)
        status = daemon.status()
        self.shown = {backend["name"]: backend["state"] for backend in status["backends"]}
        self.why = status["why"]
        self.exit_status = daemon.run("status").returncode
        self.notified = [text for document in receiver.documents for text in [document["text"]]]


def test_all_of_them_tell_the_same_at_the_same_time(
    daemon: Daemon, main: Registry, second: Registry, receiver: Receiver
) -> None:
    command = [
        "/usr/bin/curl",
        "--silent",
        "--max-time",
        "10",
        "--data-binary",
        "@-",
        f"http://127.0.0.1:{receiver.port}/",
    ]
    daemon.settings = f"{daemon.settings}\n[notify]\ncommand = {json.dumps(command)}\n"
    daemon.start()
    main.stop()
    second.stop()
    daemon.wait_until(lambda: OUTAGE in daemon.log, "the log tells of the outage")
    time.sleep(AT_ONCE)
    told = Told(daemon, receiver)
    assert re.search(rf"^\S+ error: .*{re.escape(OUTAGE)}", daemon.log, re.MULTILINE), "as an error"
    assert told.statusz == (503, OUTAGE)
    assert (told.all_down, told.states) == ("1.0", {"main": "down", "second": "down"})
    assert told.shown == told.states
    assert "all backends are down" in told.why
    assert told.exit_status == 1
    assert any(OUTAGE in text for text in told.notified)

    daemon.stop()
    length = len(daemon.log)
    daemon.start()
    daemon.wait_until(lambda: " is active: " in daemon.log[length:], "the start is over")
    assert daemon.log[length:].count(f"error: {OUTAGE}") == 1, "a restart, which keeps the state, tells it"

    second.start()
    daemon.wait_until(lambda: "clients are answered again" in daemon.log, "the log tells of the end")
    time.sleep(AT_ONCE)
    told = Told(daemon, receiver)
    assert re.search(r"^\S+ notice: .*clients are answered again", daemon.log, re.MULTILINE), "as a notice"
    assert told.statusz == (200, "ok")
    assert (told.all_down, told.states) == ("0.0", {"main": "down", "second": "up"})
    assert told.shown == told.states
    assert told.exit_status == 1, "one backend is still down"
    assert any("clients are answered again" in text for text in told.notified)
