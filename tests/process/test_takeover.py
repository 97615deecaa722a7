"""What goes on when processes die in unlucky moments: with other settings on the disk, systemd's sockets, or a stop."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import facaded
from facaded.workers.link import START_TIME
from facaded.workers.worker_starts import SILENCE
from tests.process.daemon import FAST, WAIT, Daemon, Registry, free_port, running, wait_until
from tests.process.test_service_manager import opened, start_with_sockets
from tests.several_processes import living

CLIENT = {"User-Agent": "containerd/2.1.9"}

CONNECTIONS = 24
"""Connections that reach both of two processes, but for once in eight million times."""


@pytest.fixture
def pair(tmp_path: Path, main: Registry, second: Registry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, f"workers = 2\n{FAST.format(main=main, second=second)}")
    with running(daemon, main, second):
        yield daemon
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


def spawn(daemon: Daemon) -> subprocess.Popen[bytes]:
    """Start a daemon whose settings are written."""
    with (daemon.directory / "log").open("ab") as log:
        command = [*daemon.arguments, str(daemon.config)]
        daemon.process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)
    return daemon.process


def start(daemon: Daemon) -> Daemon:
    daemon.start()
    daemon.wait_until(lambda: "worker 1 (pid" in daemon.log, "the worker answers")
    return daemon


def worker_pid(daemon: Daemon) -> int:
    return int(daemon.log.rpartition("worker 1 (pid ")[2].partition(")")[0])


def lock_holder(daemon: Daemon) -> int:
    """Return the worker that may start a first process: /proc/locks has its number, and that of the file (proc(5))."""
    file = next(daemon.directory.glob("workers*.lock")).stat().st_ino
    line = next(line for line in Path("/proc/locks").read_text().splitlines() if f":{file} " in line)
    return int(line.split()[4])


def kill_first(daemon: Daemon) -> int:
    """Kill the first process, which this test has started; return the group of all processes."""
    assert daemon.process is not None
    daemon.process.kill()
    daemon.process.wait()
    return daemon.process.pid


def statuses(daemon: Daemon, path: str = "/v2/", port: int = 0) -> set[int]:
    return {daemon.get(path, headers=CLIENT, port=port)[0] for _ in range(CONNECTIONS)}


def stop_all(daemon: Daemon, group: int) -> None:
    for pid in living(group):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: living(group) == [], "all end")


def test_a_new_first_process_gets_the_sockets_of_systemd(pair: Daemon) -> None:
    with opened(socket.AF_INET, "127.0.0.1") as http:
        start_with_sockets(pair, 'http = "systemd:http"\nadmin = []', {"http": [http]})
        pair.wait_until(lambda: "worker 1 (pid" in pair.log, "the worker answers")
        kill_first(pair)
        wait_until(lambda: pair.log.count("worker 1 (pid") == 2, "takeover")
        assert statuses(pair, port=http.getsockname()[1]) == {307}


def test_a_worker_listens_where_the_first_process_does_whatever_a_reload_has_changed(pair: Daemon) -> None:
    start(pair)
    before, pair.port = pair.port, free_port()
    pair.write_settings()
    assert pair.control("POST", "/reload") == 200
    os.kill(worker_pid(pair), signal.SIGKILL)
    pair.wait_until(lambda: pair.log.count(" answers") == 2, "another worker")
    assert statuses(pair, port=before) == {307}


def test_a_new_first_process_listens_where_the_one_before_did(pair: Daemon) -> None:
    start(pair)
    before, pair.port = pair.port, free_port()
    pair.write_settings()
    kill_first(pair)
    wait_until(lambda: pair.log.count(" answers") == 2, "takeover")
    assert statuses(pair, port=before) == {307}
    assert "listen.http changed: listeners change only at a restart" in pair.log


def test_a_worker_has_an_answer_when_a_new_first_process_has_other_backends(pair: Daemon, second: Registry) -> None:
    start(pair)
    second.mode = "hang"  # so that the first round of probes lasts
    pair.write_settings(pair.settings.replace('"main"', '"one"').replace('"second"', '"two"'))
    kill_first(pair)
    wait_until(lambda: pair.log.count(" answers") == 2, "takeover")
    assert statuses(pair, "/v2/org/app/manifests/latest") <= {200, 307}
    assert {pair.backend for _ in range(CONNECTIONS)} == {"one"}


def test_others_answer_for_a_first_process_that_cannot_start(pair: Daemon) -> None:
    pair.settings = pair.settings.replace("workers = 2", "workers = 3")
    start(pair)
    pair.wait_until(lambda: "worker 2 (pid" in pair.log, "the other worker answers")
    pair.config.write_text("broken")
    group = kill_first(pair)
    assert statuses(pair) == {307}
    time.sleep(START_TIME + 1)
    assert "hangs" not in pair.log, "the worker that waits before the next start lives"
    wait_until(lambda: len(living(group)) == 2, "the first process that it has just started ends")


def test_others_answer_for_a_worker_that_cannot_start(pair: Daemon) -> None:
    pair.settings = pair.settings.replace("rename = {}", 'rename = {}\nusername = "u"\npassword_file = "PASSWORD"')
    password = pair.directory / "password"
    password.write_text("secret")
    password.chmod(0o600)
    pair.settings = pair.settings.replace("PASSWORD", str(password))
    start(pair)
    password.unlink()
    os.kill(worker_pid(pair), signal.SIGKILL)
    assert statuses(pair) == {307}


def test_daemons_whose_control_sockets_are_in_one_directory_have_their_own_workers(pair: Daemon) -> None:
    start(pair)
    other = Daemon(pair.directory / "other", pair.settings)
    other.directory.mkdir()
    other.write_settings()
    other.config.write_text(other.config.read_text().replace("other/control.sock", "other.sock"))
    with running(other):
        spawn(other)
        other.wait_until(lambda: " answers" in other.log, "the other worker")
        os.kill(worker_pid(pair), signal.SIGKILL)
        pair.wait_until(lambda: pair.log.count(" answers") == 2, "another worker")
        assert other.log.count(" answers") == 1


def test_a_first_process_that_is_killed_during_a_stop_has_no_successor(pair: Daemon) -> None:
    pair.settings = f'stop_delay = "2s"\n{pair.settings}'
    start(pair)
    assert pair.process is not None
    pair.process.terminate()
    time.sleep(0.5)
    group = kill_first(pair)
    wait_until(lambda: living(group) == [], "all end", 6)
    assert "starting a new first process" not in pair.log


@pytest.mark.parametrize("content", ["x", "{}"])
def test_a_foreign_environment_ends_it_with_a_sentence(pair: Daemon, content: str) -> None:
    pair.environ = {"FACADED_PROCESS": content}
    pair.spawn()
    assert pair.process is not None
    assert pair.process.wait(WAIT) == 2
    pair.process = None
    assert "FACADED_PROCESS" in pair.log


def test_a_path_that_is_too_long_ends_it_with_a_sentence(pair: Daemon) -> None:
    directory = pair.directory / ("d" * (100 - len(str(pair.directory))))
    directory.mkdir()
    pair.write_settings()
    pair.config.write_text(pair.config.read_text().replace(f"{pair.directory}/control.sock", f"{directory}/c"))
    assert spawn(pair).wait(WAIT) == 2
    pair.process = None
    assert "the socket of the workers beside it, would have a path of more than 107 bytes" in pair.log


def test_all_processes_write_their_last_lines_before_they_end(pair: Daemon) -> None:
    pair.settings = f'access_log = "all"\n{pair.settings}'
    start(pair)
    for _ in range(3):
        assert statuses(pair) == {307}
    assert pair.stop() == 0
    assert pair.log.count(" family=containerd ") == 3 * CONNECTIONS


def test_modules_of_the_working_directory_are_not_imported_unless_the_first_process_does_so(pair: Daemon) -> None:
    directory = pair.directory / "foreign"
    (directory / "facaded").mkdir(parents=True)
    (directory / "facaded" / "__init__.py").write_text("raise SystemExit('foreign')")
    pair.write_settings()
    arguments = [sys.executable, "-P", "-m", "facaded", "--config", str(pair.config)]
    environ = os.environ | {"PYTHONPATH": str(Path(facaded.__file__).parents[1])}
    with (pair.directory / "log").open("ab") as log:
        pair.process = subprocess.Popen(arguments, stdout=log, stderr=log, process_group=0, cwd=directory, env=environ)
    pair.wait_until(lambda: "worker 1 (pid" in pair.log, "the worker answers")


def test_what_settings_and_files_cause_is_logged_once(pair: Daemon) -> None:
    pair.settings = pair.settings.replace("[health]", "[limits]\nconnections = 1000000\n[health]")
    start(pair)
    assert pair.log.count("limits.connections") == 1


def test_a_signal_to_the_whole_group_is_for_the_first_process(pair: Daemon) -> None:
    start(pair)
    assert pair.process is not None
    group = pair.process.pid
    os.killpg(group, signal.SIGHUP)
    pair.wait_until(lambda: "reloaded, settings" in pair.log, "reload")
    os.killpg(group, signal.SIGINT)
    assert pair.process.wait(WAIT) == 0
    assert living(group) == []
    assert "starting a" not in pair.log


def test_a_worker_that_hung_when_the_first_process_died_is_replaced_and_killed(pair: Daemon) -> None:
    pair.settings = pair.settings.replace("workers = 2", "workers = 3")
    start(pair)
    pair.wait_until(lambda: "worker 2 (pid" in pair.log, "the other worker answers")
    hanging = worker_pid(pair)
    group = kill_first(pair)
    os.kill(hanging, signal.SIGSTOP)  # not before: the kernel continues all of a group whose leader dies
    seconds = START_TIME + WAIT  # it may have been about to start a first process
    wait_until(lambda: re.findall(r"worker 1 \(pid \d+\) answers", pair.log)[1:], "another worker 1", seconds)
    wait_until(lambda: hanging not in living(group), "it is killed", 2 * SILENCE)
    assert f"worker 1 (pid {hanging}) of the first process that died hangs: it is killed" in pair.log
    assert len(living(group)) == 3
    assert statuses(pair) == {307}


def test_a_worker_that_hangs_before_it_has_started_a_first_process_is_killed_and_another_one_does(pair: Daemon) -> None:
    pair.settings = pair.settings.replace("workers = 2", "workers = 3")
    start(pair)
    pair.wait_until(lambda: "worker 2 (pid" in pair.log, "the other worker answers")
    settings = pair.config.read_text()
    pair.config.write_text("broken")
    group = kill_first(pair)
    wait_until(lambda: "is not valid TOML" in pair.log, "one that a worker has started ends")
    holder = lock_holder(pair)
    os.kill(holder, signal.SIGSTOP)
    pair.config.write_text(settings)
    wait_until(lambda: pair.log.count(" answers") == 4, "takeover", START_TIME + WAIT)
    assert re.search(rf"worker [12] \(pid {holder}\) of the first process that died hangs: it is killed", pair.log)
    assert len(living(group)) == 3
    assert statuses(pair) == {307}


def test_the_path_of_a_unix_socket_is_removed_by_the_first_process_that_took_over(pair: Daemon) -> None:
    path = pair.directory / "http.sock"
    pair.write_settings()
    pair.config.write_text(re.sub("http = .*", f'http = "unix:{path}"', pair.config.read_text(), count=1))
    process = spawn(pair)
    pair.wait_until(lambda: "worker 1 (pid" in pair.log, "the worker answers")
    kill_first(pair)
    wait_until(lambda: pair.log.count("worker 1 (pid") == 2, "takeover")
    assert path.is_socket()
    os.kill(pair.status()["workers"][0]["pid"], signal.SIGTERM)
    wait_until(lambda: living(process.pid) == [], "all end")
    assert list(pair.directory.glob("http.sock*")) == []
