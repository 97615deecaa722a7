"""Start, stop and kill of a daemon, and what a start reports if it fails."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.process.daemon import TWISTD, Daemon, Registry, can_connect, wait_until


def test_a_request_during_the_start_waits_for_the_first_probes(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    main.mode = second.mode = "hang"
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    assert not daemon.ready
    start = time.monotonic()
    assert daemon.get("/v2/_catalog")[0] == 404, "an answer that needs no backend is sent at once"
    assert time.monotonic() - start < 1
    status, headers, _ = daemon.get("/v2/")
    assert (status, headers["X-Facaded-Backend"]) == (307, "main"), "if all are down, the first one is active"
    assert 1 < time.monotonic() - start < 4
    assert daemon.ready


@pytest.mark.parametrize("garbage", [b"", b"{", b"\x00" * 1000, b'{"version": 1, "charges": 5, "backends": []}'])
def test_an_invalid_state_file_is_set_aside_and_the_daemon_starts(daemon: Daemon, garbage: bytes) -> None:
    state = daemon.directory / "state"
    state.mkdir()
    (state / "state.json").write_bytes(garbage)
    daemon.start()
    assert daemon.backend == "main"
    aside = next(path for path in state.iterdir() if "unreadable" in path.name)
    assert aside.read_bytes() == garbage
    daemon.wait_for_log(f"set aside as {aside.name}")


def test_a_stop_finishes_requests_in_flight_and_writes_the_state(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    main.mode = second.mode = "hang"
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    answers: list[int] = []
    client = threading.Thread(target=lambda: answers.append(daemon.get("/v2/")[0]))
    client.start()
    time.sleep(0.3)
    assert daemon.stop() == 0
    client.join()
    assert answers == [307]
    assert (daemon.directory / "state" / "state.json").exists()
    assert not (daemon.directory / "control.sock").exists()


@pytest.mark.parametrize(
    "arguments", [[sys.executable, "-m", "facaded", "serve", "--config"], TWISTD], ids=["serve", "twistd"]
)
class TestStarting:
    """Starts with `facaded serve` and with the twistd plugin."""

    def test_it_serves_and_stops(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        daemon.start()
        assert daemon.backend == "main"
        assert daemon.run("status").returncode == 0
        assert daemon.stop() in (0, -signal.SIGTERM), "twistd ends by the signal that it was sent"
        assert daemon.log.count("stopped") == 1

    def assert_ends(self, daemon: Daemon, sentence: str, exit_status: int = 2) -> None:
        daemon.spawn()
        assert daemon.process is not None
        assert daemon.process.wait(15) == exit_status
        daemon.process = None
        assert daemon.log.count(sentence) == 1
        assert "Traceback" not in daemon.log

    def test_a_port_in_use_ends_it_with_a_sentence_and_status_3(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", daemon.port))
            taken.listen()
            address = f"tcp:{daemon.port}:interface=127.0.0.1"
            self.assert_ends(daemon, f"facaded: listen.http: {address}: another program listens there", 3)

    def test_an_unknown_address_ends_it_with_a_sentence_and_status_3(
        self, daemon: Daemon, arguments: list[str]
    ) -> None:
        daemon.arguments = arguments
        daemon.host = "192.0.2.1"
        self.assert_ends(daemon, "this machine has no such address: choose one that it has", 3)

    def test_an_invalid_file_ends_it_with_a_line_for_each_problem(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        daemon.settings = "bogus = 1\nhosts = 5"
        self.assert_ends(daemon, f"facaded: {daemon.config}:1: bogus: unknown key")
        assert "hosts: expected a list" in daemon.log

    def test_a_directory_in_place_of_the_socket_ends_it_with_a_sentence(
        self, daemon: Daemon, arguments: list[str]
    ) -> None:
        daemon.arguments = arguments
        (daemon.directory / "control.sock").mkdir()
        self.assert_ends(daemon, f"{daemon.directory}/control.sock exists and is not a socket: remove it")

    def test_a_state_directory_that_cannot_be_created_ends_it_with_a_sentence(
        self, daemon: Daemon, arguments: list[str]
    ) -> None:
        daemon.arguments = arguments
        (daemon.directory / "state").symlink_to("/proc/none")
        self.assert_ends(daemon, f"facaded: state.directory: {daemon.directory}/state cannot be created")

    def test_a_second_daemon_on_the_same_socket_ends_with_a_sentence(
        self, daemon: Daemon, arguments: list[str], tmp_path: Path
    ) -> None:
        daemon.start()
        other = Daemon(tmp_path, daemon.settings, arguments=arguments)
        (tmp_path / "log").rename(tmp_path / "log.first")
        self.assert_ends(other, "another facaded uses this socket", 3)
        assert daemon.backend == "main"


def test_the_socket_of_a_killed_daemon_is_replaced(daemon: Daemon) -> None:
    daemon.start()
    daemon.kill()
    assert (daemon.directory / "control.sock").exists()
    daemon.start()
    assert daemon.run("status").returncode == 0
    assert os.stat(daemon.directory / "control.sock").st_mode & 0o777 == 0o600


def test_the_socket_of_a_killed_daemon_is_replaced_although_another_process_has_its_number(daemon: Daemon) -> None:
    """In a container, facaded is process 1 each time, and its sockets may be on a volume."""
    daemon.start()
    daemon.kill()
    lock = daemon.directory / "control.sock.lock"
    lock.unlink()
    lock.symlink_to(str(os.getpid()))
    daemon.start()
    assert daemon.run("status").returncode == 0


def test_a_kill_at_any_moment_leaves_a_valid_state_file(daemon: Daemon) -> None:
    """The daemon is killed while it writes its state continuously, a little later in every round."""
    last = ""
    for round_ in range(8):
        daemon.start()
        if last:
            assert f"{last} pinned" not in daemon.log.rpartition("facaded 0.")[2], "it is no news"
            assert daemon.backend in (last, {"main": "second", "second": "main"}[last])
        deadline = time.monotonic() + 0.05 * round_
        while time.monotonic() < deadline:
            for last in ("second", "main"):
                daemon.control("POST", f"/pin?backend={last}")
        if not last:
            daemon.control("POST", f"/pin?backend={(last := 'second')}")
        daemon.kill()
        assert daemon.config.parent.joinpath("state", "state.json").exists()
    daemon.start()
    assert daemon.status()["pins"]
    assert "set aside" not in daemon.log
