"""The daemon as a process: start, outage, restart, reload, stop; with registries that fail on demand."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon, Registry, running, wait_until

FAST = """
repositories = ["org/*"]
[health]
interval = "2s"
fast_interval = "500ms"
timeout = "2s"
fall = 2
failback_after = "1s"
[[backend]]
name = "main"
url = "{main.url}"
[[backend]]
name = "second"
url = "{second.url}"
rename = {{}}
"""


@pytest.fixture
def main() -> Registry:
    return Registry("127.0.0.2").start()


@pytest.fixture
def second() -> Registry:
    return Registry("127.0.0.3").start()


@pytest.fixture
def daemon(tmp_path: Path, main: Registry, second: Registry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    with running(daemon, main, second):
        yield daemon
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


def fail(registry: Registry, how: str) -> None:
    if how == "refuse":
        registry.stop()
    else:
        registry.mode = how


@pytest.mark.parametrize(
    ("how", "seconds", "words"),
    [
        ("refuse", 3, "GET /v2/: connection refused"),
        ("hang", 7, "GET /v2/: time-out"),
        ("500", 3, "GET /v2/: answered 500"),
        ("no-token", 3, "token server: answered 500"),
    ],
)
def test_an_outage_is_noticed_in_time_and_after_it_the_first_is_in_charge_again(
    daemon: Daemon, main: Registry, how: str, seconds: float, words: str
) -> None:
    daemon.start()
    assert daemon.backend == "main"
    fail(main, how)
    took = daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert took <= seconds, f"interval + (fall - 1) x fast_interval (+ fall x timeout): {seconds} s"
    assert daemon.log.count(f"main down ({words}); second in charge") == 1
    assert daemon.status()["why"] == f"second is in charge: main down ({words})"
    main.mode = "token"
    if main.server is None:
        main.start()
    took = daemon.wait_until(lambda: daemon.backend == "main", "failback")
    assert took >= 1, "failback_after"


def test_a_good_backend_is_not_asked_more_often_than_the_interval_says(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    time.sleep(5)
    assert 2 <= main.asked.count("/v2/") <= 4


@pytest.mark.parametrize("how", ["refuse", "hang"])
@pytest.mark.parametrize("state", ["with", "without"])
@pytest.mark.parametrize("noticed", ["noticed", "while it was stopped"])
def test_restarted_in_an_outage_its_first_answer_goes_to_the_second(
    daemon: Daemon, main: Registry, how: str, state: str, noticed: str
) -> None:
    daemon.start()
    if noticed == "noticed":
        fail(main, how)
        daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert daemon.stop() == 0
    fail(main, how)
    if state == "without":
        (daemon.directory / "state" / "state.json").unlink()
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    assert daemon.backend == "second", "this request came while it was starting, and waited"


def test_a_request_that_comes_while_it_starts_waits_instead_of_being_refused(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    main.mode = second.mode = "hang"
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    assert not daemon.ready
    begun = time.monotonic()
    assert daemon.get("/v2/_catalog")[0] == 404, "an answer that needs no backend comes at once"
    assert time.monotonic() - begun < 1
    status, headers, _ = daemon.get("/v2/")
    assert (status, headers["X-Facaded-Backend"]) == (307, "main"), "all are down: the first one"
    assert 1 < time.monotonic() - begun < 4
    assert daemon.ready


def test_failback_is_not_hastened_by_a_restart(daemon: Daemon, main: Registry) -> None:
    daemon.settings = daemon.settings.replace('failback_after = "1s"', 'failback_after = "1h"')
    daemon.start()
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    daemon.stop()
    main.start()
    daemon.start()
    time.sleep(1.5)
    assert daemon.backend == "second"
    assert daemon.status()["why"].startswith("second is in charge: main is back, and takes over in 1 h")


@pytest.mark.parametrize("garbage", [b"", b"{", b"\x00" * 1000, b'{"version": 1, "charge": 5, "backends": []}'])
def test_a_state_file_full_of_garbage_does_not_stop_the_start_and_is_set_aside(daemon: Daemon, garbage: bytes) -> None:
    state = daemon.directory / "state"
    state.mkdir()
    (state / "state.json").write_bytes(garbage)
    daemon.start()
    assert daemon.backend == "main"
    aside = next(path for path in state.iterdir() if "unreadable" in path.name)
    assert aside.read_bytes() == garbage
    assert f"set aside as {aside.name}" in daemon.log


def test_with_an_empty_list_nothing_is_ever_sent_to_the_second(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    daemon.settings = daemon.settings.replace('repositories = ["org/*"]', "")
    daemon.start()
    assert daemon.get("/v2/any/thing/manifests/latest")[1]["X-Facaded-Backend"] == "main"
    main.stop()
    daemon.wait_until(lambda: "main down" in daemon.log, "the outage is noticed")
    assert daemon.get("/v2/any/thing/manifests/latest")[1]["X-Facaded-Backend"] == "main"
    assert daemon.backend == "main"
    assert second.asked == []
    why = "repositories: empty, so there is no failover: everything is sent to main and nothing to second"
    assert why in daemon.log
    assert why in daemon.run("check").stdout
    assert why in daemon.run("status").stdout
    assert daemon.run("status").stdout.splitlines()[2].split()[:3] == ["second", "not", "used"]


def test_status_is_a_table_for_a_person_and_json_for_a_program(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    shown = daemon.run("status")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split() == ["BACKEND", "STATE", "SINCE", "LAST", "FAILED", "STEP", "URL"]
    assert "main is in charge: it is the first and up" in shown.stdout.splitlines()
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    shown = daemon.run("status")
    assert shown.returncode == 1
    row = next(line for line in shown.stdout.splitlines() if line.startswith("main "))
    assert "GET /v2/: connection refused" in row
    document = daemon.status()
    assert document["in_charge"] == "second"
    assert [backend["state"] for backend in document["backends"]] == ["down", "up"]
    assert document["backends"][1]["last"]["step"] == "token server"


@pytest.mark.parametrize("by", ["signal", "command"])
def test_a_reload_changes_the_settings_and_a_bad_one_changes_nothing(daemon: Daemon, by: str) -> None:
    def reload() -> int:
        if by == "command":
            return daemon.run("reload").returncode
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        return 0

    daemon.start()
    assert daemon.get("/v2/new/app/tags/list")[0] == 403
    good = daemon.settings
    daemon.write_settings("repositories = [5]\nbogus = 1")
    assert reload() == (2 if by == "command" else 0)
    daemon.wait_until(lambda: daemon.log.count("not reloaded") == 2, "both problems are said")
    assert daemon.get("/v2/org/app/tags/list")[0] == 307
    assert daemon.run("status").returncode == 0, "found in spite of the bad file"
    daemon.write_settings(good.replace('"org/*"', '"new/*"'))
    assert reload() == 0
    daemon.wait_until(lambda: daemon.get("/v2/new/app/tags/list")[0] == 307, "reloaded")
    assert daemon.get("/v2/org/app/tags/list")[0] == 403


def test_a_reload_says_that_listeners_stay_as_they_are(daemon: Daemon) -> None:
    daemon.start()
    port = daemon.port
    daemon.port = 1
    daemon.write_settings()
    assert daemon.run("reload").returncode == 0
    daemon.port = port
    assert "listeners change only at a restart" in daemon.log
    assert daemon.backend == "main"


def test_a_hangup_before_it_is_ready_is_a_reload_too(daemon: Daemon, main: Registry, second: Registry) -> None:
    main.mode = second.mode = "hang"
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_until(lambda: "reloaded" in daemon.log, "reloaded")
    daemon.wait_until(lambda: daemon.ready, "ready")


def test_systemd_is_told_what_happens(daemon: Daemon, main: Registry) -> None:
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(daemon.directory / "notify"))
        notify.settimeout(0.2)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    told.append(notify.recv(4096).decode())
                except TimeoutError:
                    continue

        listener = threading.Thread(target=listen)
        listener.start()
        daemon.environ["NOTIFY_SOCKET"] = str(daemon.directory / "notify")
        daemon.start()
        main.mode = "no-token"
        daemon.wait_until(lambda: daemon.backend == "second", "failover")
        daemon.run("reload")
        assert daemon.stop() == 0
        done.set()
        listener.join()
    assert "READY=1\nSTATUS=main in charge" in told
    changes = [
        message for message in told if message.startswith("STATUS=main down (token server: answered 500) since ")
    ]
    assert changes[0].endswith("; second in charge")
    reloading = next(message for message in told if message.startswith("RELOADING=1\nMONOTONIC_USEC="))
    assert told.index(reloading) < len(told) - 1
    assert told[told.index(reloading) + 1].startswith(("READY=1", "STATUS="))
    assert told[-1] == "STOPPING=1"


def test_a_stop_ends_what_is_in_flight_and_writes_the_state(daemon: Daemon, main: Registry, second: Registry) -> None:
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


TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "facaded", "--config"]


@pytest.mark.parametrize(
    "arguments", [[sys.executable, "-m", "facaded", "serve", "--config"], TWISTD], ids=["serve", "twistd"]
)
class TestStarting:
    """What `facaded serve` and the twistd plugin do alike."""

    def test_it_serves_and_stops(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        daemon.start()
        assert daemon.backend == "main"
        assert daemon.run("status").returncode == 0
        assert daemon.stop() in (0, -signal.SIGTERM), "twistd ends by the signal that it was sent"
        assert daemon.log.count("stopped") == 1

    def ends(self, daemon: Daemon, sentence: str) -> None:
        daemon.spawn()
        assert daemon.process is not None
        assert daemon.process.wait(15) == 2
        daemon.process = None
        assert daemon.log.count(sentence) == 1
        assert "Traceback" not in daemon.log

    def test_a_port_in_use_ends_it_with_a_sentence(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", daemon.port))
            taken.listen()
            self.ends(
                daemon, f"facaded: listen.http: tcp:{daemon.port}:interface=127.0.0.1: something else listens there"
            )

    def test_a_bad_file_ends_it_with_a_sentence_for_each_problem(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        daemon.settings = "bogus = 1\nhosts = 5"
        self.ends(daemon, "facaded: " + str(daemon.config) + ": bogus: unknown key")
        assert "hosts: expected a list" in daemon.log

    def test_a_socket_that_cannot_be_made_ends_it_with_a_sentence(self, daemon: Daemon, arguments: list[str]) -> None:
        daemon.arguments = arguments
        (daemon.directory / "control.sock").mkdir()
        self.ends(daemon, f"facaded: listen.control: unix:{daemon.directory}/control.sock")

    def test_a_state_directory_that_cannot_be_made_ends_it_with_a_sentence(
        self, daemon: Daemon, arguments: list[str]
    ) -> None:
        daemon.arguments = arguments
        (daemon.directory / "state").write_text("a file")
        self.ends(daemon, f"facaded: state.directory: {daemon.directory}/state cannot be made")

    def test_a_second_one_on_the_same_socket_ends_with_a_sentence(
        self, daemon: Daemon, arguments: list[str], tmp_path: Path
    ) -> None:
        daemon.start()
        other = Daemon(tmp_path, daemon.settings, arguments=arguments)
        (tmp_path / "log").rename(tmp_path / "log.first")
        self.ends(other, "another facaded is running there")
        assert daemon.backend == "main"


def test_a_socket_left_by_a_killed_one_is_replaced(daemon: Daemon) -> None:
    daemon.start()
    daemon.kill()
    assert (daemon.directory / "control.sock").exists()
    daemon.start()
    assert daemon.run("status").returncode == 0
    assert os.stat(daemon.directory / "control.sock").st_mode & 0o777 == 0o600


def test_the_admin_listener_says_whether_it_is_alive_and_ready(daemon: Daemon) -> None:
    daemon.settings = daemon.settings.replace("[health]", "[health]", 1)
    daemon.start()

    def ask(path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
        status, _, body = daemon.get(path, method=method, headers={"Host": host}, host="127.0.0.1", port=daemon.admin)
        return status, body

    assert ask("/livez") == (200, b"alive\n")
    assert ask("/readyz", host="localhost:9180") == (200, b"ready\n")
    assert ask("/readyz", host="[::1]:9180") == (200, b"ready\n")
    assert ask("/readyz", "HEAD") == (200, b"")
    assert ask("/livez", "POST")[0] == 405
    assert ask("/metricz")[0] == 404
    assert ask("/livez", host="evil.test")[0] == 421
    assert daemon.get("/livez")[0] == 404, "not on the listener for clients"


def test_commands_without_a_daemon_say_so(daemon: Daemon) -> None:
    daemon.write_settings()
    for command in ("status", "reload"):
        shown = daemon.run(command)
        assert shown.returncode == 1
        assert shown.stderr == f"facaded: no daemon is running: there is no socket at {daemon.directory}/control.sock\n"
    daemon.start()
    daemon.kill()
    shown = daemon.run("status")
    assert shown.returncode == 1
    assert "does not answer" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_check_says_what_the_settings_mean_and_probes_on_request(daemon: Daemon, main: Registry) -> None:
    daemon.write_settings(daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/app"'))
    assert daemon.run("check").stdout == f"{daemon.config}: can be used\n"
    assert main.asked == []
    shown = daemon.run("check", "--probe")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1].startswith("main: good: blob: blob found (")
    main.stop()
    shown = daemon.run("check", "--probe")
    assert shown.returncode == 1
    assert "main: bad: GET /v2/: connection refused" in shown.stdout
    daemon.write_settings("bogus = 1")
    shown = daemon.run("check")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "bogus: unknown key" in shown.stderr


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_reload_to_clients_credentials_is_refused_while_another_listener_is_open(
    daemon: Daemon, main: Registry
) -> None:
    daemon.start()
    port, daemon.port = daemon.port, 1
    private = f'repositories = ["org/*"]\n[[backend]]\nname = "main"\nurl = "{main.url}"\nauth = "client"\n'
    daemon.write_settings(private)
    refused = daemon.run("reload")
    daemon.port = port
    assert refused.returncode == 2
    assert 'with auth = "client" nobody may come by the old one' in refused.stderr
    assert daemon.backend == "main", "a redirect, as before"
    daemon.write_settings(private)
    assert daemon.run("reload").returncode == 0
    status, headers, _ = daemon.get("/v2/")
    assert status == 401
    assert headers["WWW-Authenticate"] == f'Bearer realm="{main.url}/token",service="test"'


@pytest.fixture
def with_canary(daemon: Daemon) -> Daemon:
    """A daemon whose probes ask for an image."""
    daemon.settings = daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/app"\ndeep_interval = "1h"')
    return daemon.start()


@pytest.mark.parametrize("how", ["refuses", "manifests-500"])
def test_a_registry_that_fails_for_manifests_alone_is_left_in_time(
    with_canary: Daemon, main: Registry, how: str
) -> None:
    main.mode = how
    took = with_canary.wait_until(lambda: with_canary.backend == "second", "failover")
    assert took < 2 + 0.5 + 2 * 2
    assert "main down (manifest: " in with_canary.log


def test_a_canary_that_no_backend_has_yet_brings_none_down(daemon: Daemon, main: Registry) -> None:
    main.mode = "refuses"  # from the first probe on: it has never had it
    daemon.settings = daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/typo"')
    daemon.start()
    assert daemon.backend == "main"
    assert "main drifts: answered 401 for the canary" in daemon.log
    table = daemon.run("status").stdout
    assert "up, drift" in table
    assert "main drifts: answered 401 for the canary" in table


def test_a_registry_whose_pulls_are_used_up_keeps_the_redirects_and_says_so(
    with_canary: Daemon, main: Registry
) -> None:
    main.mode = "used-up"
    with_canary.wait_until(lambda: with_canary.status()["backends"][0]["state"] == "limited", "limited")
    status = with_canary.status()
    assert status["in_charge"] == "main"
    serving = next(each for each in status["charges"] if each["for"] == "serve")
    assert (serving["backend"], serving["why"]) == (
        "second",
        "second is in charge: main limited (manifest: no pulls left)",
    )
    assert status["backends"][0]["pulls_left"]["address"]["remaining"] == 0
    assert status["backends"][0]["limited_until"] > time.time() + 21000
    table = with_canary.run("status").stdout
    assert "for serving, second is in charge: main limited (manifest: no pulls left)" in table
    assert "main grants this machine's address 0 more pulls of 100 in 6 h" in table


def test_a_pin_and_a_drain_are_in_force_at_once_and_outlive_restart_and_reload(daemon: Daemon) -> None:
    daemon.start()
    pinned = daemon.run("pin", "second", "--for", "2h")
    assert (pinned.returncode, pinned.stdout) == (0, "second is in charge: it is pinned for another 2 h\n")
    assert daemon.backend == "second"
    assert daemon.run("drain", "main").returncode == 0
    daemon.kill()
    daemon.start()
    assert daemon.run("reload").returncode == 0
    assert daemon.backend == "second"
    assert daemon.status()["why"] == "second is in charge: it is pinned for another 2 h"
    assert daemon.status()["pins"]["second"]["until"] > time.time() + 7000
    assert daemon.status()["backends"][0]["drained"]["until"] is None
    assert daemon.run("unpin").stdout == "second is in charge: main is drained\n"
    assert "up, drained" in daemon.run("status").stdout
    daemon.run("undrain", "main")
    daemon.wait_until(lambda: daemon.backend == "main", "failback")


@pytest.mark.parametrize(
    ("before", "command", "sentence"),
    [
        ((), ("pin", "nobody"), "no route has a backend called nobody: main, second"),
        ((), ("drain", "nobody"), "no route has a backend called nobody: main, second"),
        ((), ("unpin",), "no backend is pinned"),
        ((), ("undrain", "main"), "main is not drained"),
        (("drain", "main"), ("pin", "main"), "main is drained: undrain it first, or pin another backend"),
        (("pin", "main"), ("drain", "main"), "main is pinned: unpin it first, or drain another backend"),
    ],
)
def test_what_contradicts_itself_is_refused_with_a_sentence(
    daemon: Daemon, before: tuple[str, ...], command: tuple[str, ...], sentence: str
) -> None:
    daemon.start()
    if before:
        assert daemon.run(*before).returncode == 0
    refused = daemon.run(*command)
    assert (refused.returncode, refused.stderr) == (2, f"facaded: {sentence}\n")


@pytest.mark.parametrize("time_", ["soon", "2", "-2h", "0s", "10000h"])
def test_a_time_that_is_none_is_a_usage_error(daemon: Daemon, time_: str) -> None:
    refused = daemon.start().run("pin", "main", f"--for={time_}")
    assert refused.returncode == 2
    assert "write a number and a unit" in refused.stderr or "out of range" in refused.stderr


def test_a_pull_is_explained_with_and_without_a_daemon(daemon: Daemon, main: Registry) -> None:
    daemon.write_settings()
    alone = daemon.run("explain", "org/app", "--client", "podman")
    assert alone.returncode == 0
    assert "served from main, else second" in alone.stdout
    assert alone.stdout.endswith("no daemon is running: this is as if every backend were up\n")
    daemon.start()
    daemon.run("pin", "second")
    known = daemon.run("explain", "org/app", "--client", "podman")
    assert "served from second, else main" in known.stdout
    assert known.stdout.endswith("second is in charge: it is pinned\n")
    assert f"307 to {main.url}" not in daemon.run("explain", "org/app").stdout
    assert daemon.run("explain", "evil/app").returncode == 1
    assert daemon.run("explain", "Org/App").returncode == 2
    assert daemon.run("explain", "org/app", "--client", "docket").returncode == 2


def test_killed_at_any_moment_it_starts_again_with_a_whole_state(daemon: Daemon) -> None:
    """Its state is written again and again while it is killed, each time a little later."""
    last = ""
    for round_ in range(8):
        daemon.start()
        if last:
            assert f"{last} pinned" not in daemon.log.rpartition("facaded 0.")[2], "it is no news"
            assert daemon.backend in (last, {"main": "second", "second": "main"}[last])
        ended = time.monotonic() + 0.05 * round_
        while time.monotonic() < ended:
            for last in ("second", "main"):
                daemon.control("POST", f"/pin?backend={last}")
        if not last:
            daemon.control("POST", f"/pin?backend={(last := 'second')}")
        daemon.kill()
        assert daemon.config.parent.joinpath("state", "state.json").exists()
    daemon.start()
    assert daemon.status()["pins"]
    assert "set aside" not in daemon.log
