"""The first process that a worker starts when the one before has died."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define, field
from twisted.logger import LogEvent

from facaded.workers.codec import to_message
from facaded.workers.launch import VARIABLE, Launch
from facaded.workers.link import START_TIME, SuccessionLock, Successor

SELECTABLE = 1024
"""Descriptors that select(2) knows."""


@pytest.fixture
def with_many_descriptors() -> Iterator[None]:
    """Open so many descriptors, as those of connections, that select(2) does not know the next ones."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * SELECTABLE, hard)), hard))
    with ExitStack() as opened:
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) < SELECTABLE:
            opened.callback(os.close, descriptor)
        opened.callback(os.close, descriptor)
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("with_many_descriptors")
def test_a_worker_with_many_connections_sees_that_the_first_process_lives_and_has_died(
    tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    launch = Launch(1, 2, str(tmp_path / "workers.sock"), ("true",))
    successor = Successor(lambda: 0.0, lambda: launch, {})
    first = subprocess.Popen(["sleep", "60"])
    try:
        successor.end(first.pid)
        successor.start_if_needed()
        assert no_errors_are_logged == []
    finally:
        first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # it is not reaped yet
    successor.start_if_needed()
    assert [event["log_format"] for event in no_errors_are_logged] == ["starting a new first process"]
    no_errors_are_logged.clear()
    first.wait()


def test_a_first_process_that_cannot_be_started_is_tried_less_and_less_often(
    tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    launch, now = Launch(1, 2, str(tmp_path / "workers.sock"), (str(tmp_path / "missing"),)), [100.0]
    successor = Successor(lambda: now[0], lambda: launch, {})
    for _ in range(80):
        successor.start_if_needed()
        now[0] += 0.1
    starts = [event for event in no_errors_are_logged if event["log_format"] == "starting a new first process"]
    assert len(starts) == 4, "after 0, 1, 3 and 7 s"
    no_errors_are_logged.clear()


def test_a_first_process_that_ends_soon_after_its_start_is_started_less_and_less_often(
    tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    launch, now = Launch(1, 2, str(tmp_path / "workers.sock"), ("true",)), [100.0]
    successor = Successor(lambda: now[0], lambda: launch, {})

    def starts_within(seconds: float, life: float) -> int:
        """Return how many first processes are started, each of which is met and dies after `life`."""
        before, until = len(no_errors_are_logged), now[0] + seconds
        while now[0] < until:
            count = len(no_errors_are_logged)
            successor.start_if_needed()
            if len(no_errors_are_logged) > count:
                first = subprocess.Popen(["true"])
                os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
                successor.end(first.pid)
                first.wait()
                now[0] += life
            now[0] += 0.1
        return len(no_errors_are_logged) - before

    assert starts_within(60, life=1) <= 7
    now[0] += 60
    assert starts_within(200, life=40) >= 4, "one that lives longer is replaced at once"
    no_errors_are_logged.clear()


HOLDER = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
os.write(file, b"%d" % os.getpid())
print("up", flush=True)
time.sleep(60)
"""
"""A worker that hangs with the lock."""


@define
class WaitingWorker:
    """A worker that tries to get the lock, which `holder` has, in simulated time."""

    launch: Launch
    holder: subprocess.Popen[str]
    now: float = 100.0
    lock: SuccessionLock = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.lock = SuccessionLock(lambda: self.now, lambda: self.launch)

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds / 0.1)):
            self.lock.acquire()
            self.now += 0.1

    @property
    def is_holder_alive(self) -> bool:
        try:
            self.holder.wait(0.2)
        except subprocess.TimeoutExpired:
            return True
        return False


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[WaitingWorker]:
    launch = Launch(1, 3, str(tmp_path / "workers.sock"), ("true",))
    environ = {**os.environ, VARIABLE: json.dumps(to_message(launch))}
    command = [sys.executable, "-c", HOLDER, f"{launch.channel}.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        yield WaitingWorker(launch, holder)
        holder.kill()


def test_a_worker_that_hangs_with_the_lock_is_killed(
    waiting: WaitingWorker, no_errors_are_logged: list[LogEvent]
) -> None:
    waiting.wait(START_TIME - 1)
    assert waiting.is_holder_alive
    waiting.wait(2)
    assert not waiting.is_holder_alive
    assert waiting.lock.acquire()
    assert [event["pid"] for event in no_errors_are_logged] == [waiting.holder.pid]
    no_errors_are_logged.clear()


def test_one_that_shows_life_is_not(waiting: WaitingWorker) -> None:
    for _ in range(4):
        waiting.wait(START_TIME / 2)
        os.utime(f"{waiting.launch.channel}.lock")
    assert waiting.is_holder_alive


def test_one_is_not_killed_because_all_processes_were_stopped_for_a_while(waiting: WaitingWorker) -> None:
    for _ in range(4):
        waiting.wait(START_TIME / 2)
        waiting.now += START_TIME
    assert waiting.is_holder_alive


def test_one_that_is_no_worker_of_this_daemon_is_not_killed(waiting: WaitingWorker, tmp_path: Path) -> None:
    waiting.launch = Launch(1, 3, str(tmp_path / "other.sock"), ("true",))
    (tmp_path / "other.sock.lock").symlink_to(tmp_path / "workers.sock.lock")
    waiting.wait(2 * START_TIME)
    assert waiting.is_holder_alive


def test_a_worker_that_stops_leaves_the_lock_to_another(tmp_path: Path, no_errors_are_logged: list[LogEvent]) -> None:
    launch = Launch(1, 3, str(tmp_path / "workers.sock"), (str(tmp_path / "missing"),))
    successor, lock = Successor(lambda: 100.0, lambda: launch, {}), SuccessionLock(lambda: 100.0, lambda: launch)
    successor.start_if_needed()
    assert not lock.acquire()
    successor.leave_it()
    assert lock.acquire()
    no_errors_are_logged.clear()
