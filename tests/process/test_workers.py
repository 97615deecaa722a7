"""Several processes of one daemon: what is in force in all, and what is lost if one dies."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import define, field

from facaded.workers.launch import VARIABLE
from facaded.workers.link import START_TIME
from tests.process.daemon import FAST, WAIT, Daemon, Registry, running
from tests.several_processes import living

IN_FORCE = 0.1
"""Seconds within which a change is in force in all processes."""

BUSY = 0.1
"""Seconds more, because the machine of the tests may be busy."""

CLIENT = {"User-Agent": "containerd/2.1.9"}
"""A client that may ping as often as it likes."""


@define(eq=False)
class OneProcess:
    """A connection that stays with one process, whose answers have the same prefix in their ids."""

    daemon: Daemon
    connection: http.client.HTTPConnection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(self.daemon.host, self.daemon.port, timeout=WAIT)

    def ask(self, path: str = "/v2/") -> http.client.HTTPResponse:
        self.connection.request("GET", path, headers=CLIENT)
        response = self.connection.getresponse()
        response.read()
        return response

    @property
    def backend(self) -> str | None:
        return self.ask().getheader("X-Facaded-Backend")

    @property
    def prefix(self) -> str:
        return (self.ask().getheader("X-Request-Id") or "").partition("-")[0]


@pytest.fixture
def pair(tmp_path: Path, main: Registry, second: Registry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, f"workers = 2\n{FAST.format(main=main, second=second)}")
    with running(daemon, main, second):
        daemon.start()
        daemon.wait_until(lambda: "worker 1 (pid" in daemon.log, "the worker answers")
        yield daemon
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


def one_connection_to_each(daemon: Daemon, count: int = 2) -> list[OneProcess]:
    """Return a connection to each process: the kernel chooses one for each connection."""
    by_prefix: dict[str, OneProcess] = {}

    def meet_all() -> bool:
        one = OneProcess(daemon)
        by_prefix.setdefault(one.prefix, one)
        return len(by_prefix) == count

    daemon.wait_until(meet_all, "each process answers")
    return list(by_prefix.values())


def worker_pid(daemon: Daemon) -> int:
    (worker,) = [worker for worker in daemon.status()["workers"] if worker["number"] == 1]
    pid: int = worker["pid"]
    return pid


def first_pid(daemon: Daemon) -> int:
    return int(daemon.status()["workers"][0]["pid"])


def test_each_process_answers_a_part_of_the_connections_and_metrics_are_the_sum(pair: Daemon) -> None:
    prefixes = Counter(OneProcess(pair).prefix for _ in range(200))
    assert len(prefixes) == 2
    assert all(count >= 10 for count in prefixes.values()), "tests.bench.workers measures the shares of many ports"

    def counted() -> int:
        metrics = pair.get("/metrics", port=pair.admin, host="127.0.0.1")[2].decode()
        rows = [row for row in metrics.splitlines() if row.startswith("facaded_requests_total{")]
        return sum(int(float(row.rpartition(" ")[2])) for row in rows if 'kind="ping"' in row)

    pair.wait_until(lambda: counted() == 200, "each request is counted once")
    workers = pair.status()["workers"]
    assert [(worker["number"], worker["state"]) for worker in workers] == [(0, "up"), (1, "up")]
    assert sum(worker["requests"] for worker in workers) == 200
    assert "workers: 2 of 2 up" in pair.run("status").stdout


def test_a_pin_is_in_force_in_all_processes_at_once(pair: Daemon) -> None:
    processes = one_connection_to_each(pair)
    assert [one.backend for one in processes] == ["main", "main"]
    assert pair.control("POST", "/pin?backend=second") == 200
    time.sleep(IN_FORCE)
    assert [one.backend for one in processes] == ["second", "second"]


def test_a_failover_is_in_force_in_all_processes_at_once(pair: Daemon, main: Registry) -> None:
    processes = one_connection_to_each(pair)
    main.mode = "500"
    ended: dict[int, float] = {}

    def both_have_changed() -> bool:
        for number, one in enumerate(processes):
            if number not in ended and one.backend == "second":
                ended[number] = time.monotonic()
        return len(ended) == 2

    pair.wait_until(both_have_changed, "failover")
    assert max(ended.values()) - min(ended.values()) < IN_FORCE + BUSY


def test_a_reload_is_in_force_in_all_processes_at_once(pair: Daemon) -> None:
    processes = one_connection_to_each(pair)
    assert {one.ask("/v2/other/app/manifests/latest").status for one in processes} == {403}
    pair.write_settings(pair.settings.replace('["org/*"]', '["org/*", "other/*"]'))
    assert pair.control("POST", "/reload") == 200
    time.sleep(IN_FORCE)
    assert {one.ask("/v2/other/app/manifests/latest").status for one in processes} == {307}
    pair.write_settings(pair.settings.replace("org/*", "o r g"))
    assert pair.control("POST", "/reload") == 409
    assert {one.ask("/v2/other/app/manifests/latest").status for one in processes} == {307}


def test_a_restarted_worker_has_the_settings_in_force_and_not_those_of_a_broken_file(pair: Daemon) -> None:
    pair.config.write_text("broken")
    os.kill(worker_pid_of(pair), signal.SIGKILL)
    pair.wait_until(lambda: pair.log.count(" answers") == 2, "another worker")
    assert [one.backend for one in one_connection_to_each(pair)] == ["main", "main"]


def worker_pid_of(daemon: Daemon) -> int:
    """Return the worker's process as the log has it, because no command can read the settings."""
    return int(daemon.log.rpartition("worker 1 (pid ")[2].partition(")")[0])


@define
class Pulls:
    """Clients that pull again and again, each request on a connection of its own, and retry as containerd does."""

    daemon: Daemon
    count: int
    lost: list[str] = field(factory=list)
    retried: int = 0
    done: int = 0
    lock: threading.Lock = field(factory=threading.Lock)

    def run(self, threads: int = 8) -> None:
        workers = [threading.Thread(target=self._pull, args=(self.count // threads,)) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _pull(self, count: int) -> None:
        for _ in range(count):
            for _ in range(3):
                if (problem := self._ask()) is None:
                    break
                with self.lock:
                    self.retried += 1
                time.sleep(0.2)
            else:
                with self.lock:
                    self.lost.append(str(problem))
            with self.lock:
                self.done += 1

    def _ask(self) -> str | None:
        try:
            status, headers, _ = self.daemon.get("/v2/org/app/manifests/latest", headers=CLIENT)
        except OSError as error:
            return repr(error)
        except http.client.HTTPException as error:
            return repr(error)
        return None if status == 307 or status == 200 else f"{status} {headers}"


@pytest.mark.parametrize("victim", ["worker", "first"])
def test_a_process_that_is_killed_loses_its_connections_and_no_pull(pair: Daemon, victim: str) -> None:
    pid = worker_pid(pair) if victim == "worker" else first_pid(pair)
    assert pair.process is not None
    group = pair.process.pid
    pulls = Pulls(pair, 504)
    running_pulls = threading.Thread(target=pulls.run)
    running_pulls.start()
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    running_pulls.join()
    assert pulls.done == 504
    assert pulls.lost == []
    assert pulls.retried <= 8, "those that were in progress there"
    if victim == "first":
        pair.process.wait(WAIT)  # another one has taken its place, which this test did not start
    deadline = time.monotonic() + WAIT
    while not all_are_up(pair) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all_are_up(pair), pair.log
    assert pid not in [worker["pid"] for worker in pair.status()["workers"]]
    assert len(living(group)) == 2
    os.kill(first_pid(pair), signal.SIGTERM)
    deadline = time.monotonic() + WAIT
    while living(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert living(group) == []
    assert not (pair.directory / "workers.sock").exists()


def all_are_up(daemon: Daemon) -> bool:
    result = daemon.run("status")
    return "workers: 2 of 2 up" in result.stdout


def test_a_worker_that_hangs_is_replaced(pair: Daemon) -> None:
    pid = worker_pid(pair)
    os.kill(pid, signal.SIGSTOP)
    pair.wait_until(lambda: "does not answer: it is killed" in pair.log, "the watchdog", 30)
    pair.wait_until(lambda: pair.log.count(" answers") == 2, "another worker")
    assert worker_pid(pair) != pid


def test_a_stop_ends_all_processes(pair: Daemon) -> None:
    assert pair.process is not None
    group = pair.process.pid
    assert len(living(group)) == 2
    assert pair.stop() == 0
    assert living(group) == []


def test_two_daemons_cannot_listen_on_one_address(pair: Daemon, tmp_path: Path) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    other = Daemon(directory, pair.settings, port=pair.port)
    other.spawn()
    assert other.process is not None
    assert other.process.wait(WAIT) == 3
    assert "another program listens there" in other.log


def test_a_worker_whose_first_process_dies_before_they_meet_ends_at_once(tmp_path: Path) -> None:
    """Else a service that consists of such workers would be restarted only later."""
    launch = {"number": 1, "count": 2, "channel": str(tmp_path / "workers.sock"), "command": ["true"], "endpoints": []}
    environ = os.environ | {VARIABLE: json.dumps({**launch, "parent": os.getpid() + 1})}
    command = [sys.executable, "-m", "facaded", "worker", "1"]
    start = time.monotonic()
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=WAIT, check=False)
    assert "no first process answers: this worker ends" in ended.stderr
    assert time.monotonic() - start < START_TIME / 2


def test_a_worker_that_never_meets_a_first_process_ends(tmp_path: Path) -> None:
    launch = {"number": 1, "count": 2, "channel": str(tmp_path / "workers.sock"), "command": ["true"], "endpoints": []}
    environ = os.environ | {VARIABLE: json.dumps(launch)}
    command = [sys.executable, "-m", "facaded", "worker", "1"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=2 * START_TIME, check=False)
    assert "no first process answers: this worker ends" in ended.stderr
    assert ended.returncode == 0
