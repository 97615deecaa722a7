"""The log of a daemon: its forms, its priorities, its first lines, and what happens if nobody reads it."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import TWISTD, WAIT, Daemon, Registry

REQUESTS = 16_000
"""More than fit into the queue of the log and into a pipe."""

PROMPT = 2.0
"""Seconds within which every answer comes, on a busy machine too."""


class Reader:
    """Reads what comes out of a descriptor, in a thread, as long as it is told to."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.received = descriptor, b""
        self.thread = threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # a terminal whose program has ended
            while text := os.read(self.descriptor, 1 << 16):
                self.received += text

    @property
    def lines(self) -> list[str]:
        return self.received.decode().splitlines()


def spawn(daemon: Daemon, output: int, environ: dict[str, str] | None = None) -> None:
    """Start the daemon with another standard error than its log file."""
    daemon.write_settings()
    daemon.process = subprocess.Popen(
        [*daemon.arguments, str(daemon.config)],
        stdout=output,
        stderr=output,
        env={**os.environ, **(environ or {})},
        process_group=0,
    )
    os.close(output)


@pytest.fixture
def journal(daemon: Daemon) -> Iterator[Reader]:
    """What the daemon writes to a socket like that of the journal."""
    own, others = socket.socketpair()
    status = os.fstat(others.fileno())
    reader = Reader(own.detach())
    reader.thread.start()
    spawn(daemon, others.detach(), {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    daemon.wait_until(lambda: daemon.ready, "ready")
    yield reader
    if daemon.process is not None:
        daemon.kill()
    os.close(reader.descriptor)


def test_in_the_journal_each_line_has_its_priority_and_no_time(
    daemon: Daemon, main: Registry, second: Registry, journal: Reader
) -> None:
    def wait_for(text: str) -> None:
        daemon.wait_until(lambda: any(text in line for line in journal.lines), f"{text}: {journal.lines}")

    daemon.get("/v2/")
    wait_for('<6>127.0.0.1 - - "GET /v2/ HTTP/1.1" 307 ')
    main.mode = "500"
    wait_for("<4>main is down (")
    second.mode = "500"
    wait_for("<3>ALL BACKENDS DOWN (main: answered 500; second: answered 500); second stays active")
    second.mode = "token"
    wait_for("<5>second is up")
    assert all(re.match(r"<[2-6]>", line) for line in journal.lines)
    assert not any("2026" in line for line in journal.lines)
    assert daemon.stop() == 0
    journal.thread.join(WAIT)
    assert journal.lines[-1] == "<6>stopped"


def test_a_terminal_gets_the_time_of_day_and_words(daemon: Daemon, main: Registry) -> None:
    master, slave = pty.openpty()
    reader = Reader(master)
    reader.thread.start()
    spawn(daemon, slave)
    daemon.wait_until(lambda: daemon.ready, "ready")
    main.mode = "500"
    daemon.wait_until(lambda: b"main is down" in reader.received, "the outage is noticed")
    assert daemon.stop() == 0
    reader.thread.join(WAIT)
    os.close(master)
    assert re.fullmatch(r"\d\d:\d\d:\d\d facaded \S+, settings: .*", reader.lines[0])
    assert any(re.fullmatch(r"\d\d:\d\d:\d\d warning: main is down .*", line) for line in reader.lines)


@pytest.mark.parametrize("arguments", [None, TWISTD])
def test_the_first_lines_name_the_addresses_and_a_url_that_answers(daemon: Daemon, arguments: list[str] | None) -> None:
    daemon.arguments = arguments or daemon.arguments
    daemon.start()
    line = next(line for line in daemon.log.splitlines() if "listening on" in line)
    address = f"http://127.0.0.1:{daemon.port}"
    assert f"listening on {address}; admin on http://127.0.0.1:{daemon.admin}; control on unix:" in line
    assert line.endswith(f"; try {address}/v2/")
    _, headers, _ = daemon.get("/v2/")
    daemon.wait_until(lambda: f"id={headers['X-Request-Id']}\n" in daemon.log, "the request is in the log")


def test_json_is_one_object_a_line_for_everything_and_a_reload_changes_the_log(daemon: Daemon, main: Registry) -> None:
    text = daemon.settings
    daemon.settings = f'log = "json"\naddresses = "masked"\n{text}'
    daemon.start()
    _, headers, _ = daemon.get("/v2/")
    main.mode = "500"
    daemon.wait_until(lambda: "main is down" in daemon.log, "the outage is noticed")
    daemon.wait_until(lambda: headers["X-Request-Id"] in daemon.log, "the request is in the log")
    documents = [json.loads(line) for line in daemon.log.splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["time"]) for document in documents)
    (down,) = [document for document in documents if document.get("event") == "down"]
    assert (down["level"], down["backend"]) == ("warning", "main")
    (ping,) = [document for document in documents if document.get("request_id") == headers["X-Request-Id"]]
    assert (ping["status"], ping["address"], ping["backend"]) == (307, "127.0.0.0", "main")
    daemon.write_settings(f'access_log = "errors"\n{text}')
    assert daemon.run("reload").returncode == 0
    _, quiet, _ = daemon.get("/v2/org/app/tags/list")
    _, refused, _ = daemon.get("/v2/other/app/tags/list")
    daemon.wait_until(lambda: refused["X-Request-Id"] in daemon.log, "the refusal is in the log")
    request = re.escape('"GET /v2/other/app/tags/list HTTP/1.1" 403 ')
    line = daemon.log.splitlines()[-1]
    assert re.fullmatch(rf'127\.0\.0\.1 - - \[.*\] {request}.* reason="DENIED: .*" ms=.* id=.*', line)
    assert quiet["X-Request-Id"] not in daemon.log


def ask(daemon: Daemon, requests: int) -> float:
    """Send requests one after the other; return the longest time that an answer took."""
    longest = 0.0
    with socket.create_connection((daemon.host, daemon.port), timeout=WAIT) as connection:
        for _ in range(requests):
            start = time.monotonic()
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-Agent: containerd/2.1.9\r\n\r\n")
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += connection.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 307 ")
            longest = max(longest, time.monotonic() - start)
    return longest


@pytest.fixture
def unlimited(daemon: Daemon) -> Daemon:
    """A daemon that redirects everything and limits no client."""
    daemon.settings = f'answer = "redirect"\n{daemon.settings}\n[limits]\nexempt = ["127.0.0.0/8"]\n'
    daemon.settings = daemon.settings.replace("rename = {}", "")
    return daemon


def test_a_stop_writes_every_line(unlimited: Daemon) -> None:
    unlimited.start()
    ask(unlimited, 700)
    assert unlimited.stop() == 0
    assert unlimited.log.count('"GET /v2/ HTTP/1.1" 307 ') == 700
    assert unlimited.log.splitlines()[-1].endswith(" stopped")


def test_a_stalled_reader_loses_access_lines_and_no_answer(unlimited: Daemon) -> None:
    reading, writing = os.pipe()
    spawn(unlimited, writing)
    unlimited.wait_until(lambda: unlimited.ready, "ready")
    assert ask(unlimited, REQUESTS) < PROMPT
    reader = Reader(reading)
    reader.thread.start()
    sentence = r"warning: (\d+) lines of the log are lost: the disk was full, or what reads the log was too slow"

    def reported() -> re.Match[str] | None:
        ask(unlimited, 1)
        return re.search(sentence, reader.received.decode())

    unlimited.wait_until(reported, "the loss is reported")
    assert unlimited.stop() == 0
    reader.thread.join(WAIT)
    os.close(reading)
    lost = sum(int(number) for number in re.findall(sentence, reader.received.decode()))
    written = [line for line in reader.lines if '"GET /v2/ HTTP/1.1" 307 ' in line]
    assert all(re.search(r" id=[0-9a-f]+-[0-9a-f]+$", line) for line in written), "no line is cut"
    numbers: dict[str, list[int]] = {}
    for line in written:
        process, _, number = line.rpartition(" id=")[2].partition("-")
        numbers.setdefault(process, []).append(int(number, 16))
    assert all(own == sorted(set(own)) for own in numbers.values()), "those of a process are in order"
    assert lost > 0
    answered = sum(own[-1] for own in numbers.values())
    assert answered == len(written) + lost >= REQUESTS, "each line was written or counted as lost"
    assert sum(line.endswith(" stopped") for line in reader.lines) == 1


def test_a_stop_does_not_wait_for_a_stalled_reader(unlimited: Daemon) -> None:
    reading, writing = os.pipe()
    spawn(unlimited, writing)
    unlimited.wait_until(lambda: unlimited.ready, "ready")
    ask(unlimited, REQUESTS // 4)
    start = time.monotonic()
    assert unlimited.stop() == 0
    assert time.monotonic() - start < 6
    os.close(reading)


def test_a_full_disk_is_survived_and_the_log_goes_on(unlimited: Daemon, tmp_path: Path) -> None:
    unlimited.arguments = ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', *unlimited.arguments]
    unlimited.start()
    assert ask(unlimited, 100) < PROMPT
    assert unlimited.process is not None
    unlimited.process.send_signal(signal.SIGHUP)
    assert ask(unlimited, 100) < PROMPT
    assert unlimited.stop() == 0
