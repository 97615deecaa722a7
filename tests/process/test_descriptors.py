"""A daemon with few file descriptors, and clients that open many connections."""

import contextlib
import os
import resource
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from tests.process.daemon import Daemon, Registry, fail

SOURCES = [f"127.0.0.{number}" for number in range(10, 20)]
"""Addresses that connections come from."""


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limited(daemon: Daemon, soft: int, hard: int) -> Daemon:
    shell = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$0" "$@"'
    daemon.arguments = ["sh", "-c", shell, sys.executable, "-m", "facaded", "--config"]
    return daemon.start()


@contextlib.contextmanager
def idle_connections(daemon: Daemon, number: int) -> Iterator[None]:
    """Open connections from all sources, send nothing, and close them at the end."""
    with contextlib.ExitStack() as stack:
        for index in range(number):
            connection = stack.enter_context(socket.socket())
            connection.bind((SOURCES[index % len(SOURCES)], 0))
            connection.connect((daemon.host, daemon.port))
        yield


def limits_in_status(daemon: Daemon) -> str:
    return daemon.run("status").stdout


@pytest.mark.parametrize(("soft", "hard", "number"), [(256, 20_000, 1100), (256, 256, 1100)])
def test_idle_connections_take_no_descriptors_from_probes_and_state(
    daemon: Daemon, main: Registry, soft: int, hard: int, number: int
) -> None:
    limited(daemon, soft, hard)
    with idle_connections(daemon, number):
        probed = len(main.requests)
        daemon.wait_until(lambda: len(main.requests) > probed + 2, "probes go on")
        assert daemon.backend == "main", "an honest client is answered"
        fail(main, "refuse")
        daemon.wait_until(lambda: daemon.backend == "second", "a real outage is noticed")
        daemon.wait_until(lambda: "is down" in (daemon.directory / "log").read_text(), "and logged")
    assert "too many open files" not in daemon.log
    assert '"down"' in (daemon.directory / "state" / "state.json").read_text()
    reached = "limit reached: connections" in daemon.log
    assert reached == (hard == 256)


def test_without_free_descriptors_nobody_is_called_down_and_one_line_says_why(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    daemon.start()
    assert daemon.process is not None
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used_descriptors = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used_descriptors, before[1]))
    used = cpu_seconds(pid)
    with idle_connections(daemon, 10):
        daemon.wait_until(lambda: "limit reached: file descriptors" in daemon.log, "it is logged")
        time.sleep(5)
    assert cpu_seconds(pid) - used < 2, "it does not try to accept again and again"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    daemon.wait_until(lambda: daemon.backend == "main", "it accepts again")
    assert "is down" not in daemon.log
    assert daemon.log.count("limit reached") <= 2
    assert "file descriptors" in limits_in_status(daemon)


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
