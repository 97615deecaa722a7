"""The commands, with and without a running daemon; and the admin listener."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.process.daemon import WAIT, Daemon, Registry


def test_status_is_a_table_for_a_person_and_json_for_a_program(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    result = daemon.run("status")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0] == "main is active: it is the preferred backend and is up"
    assert result.stdout.splitlines()[2].split() == ["NAME", "STATE", "SINCE", "AGE", "URL"]
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    result = daemon.run("status")
    assert result.returncode == 1
    assert "main: failed at GET /v2/: connection refused (" in result.stdout
    document = daemon.status()
    assert document["active"] == "second"
    assert [backend["state"] for backend in document["backends"]] == ["down", "up"]
    assert document["backends"][1]["last"]["step"] == "token server"


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


def test_commands_without_a_daemon_say_that_it_is_not_running(daemon: Daemon) -> None:
    daemon.write_settings()
    for command in ("status", "reload"):
        failed = daemon.run(command)
        assert failed.returncode == 1
        assert failed.stderr == f"facaded: not running: there is no control socket at {daemon.directory}/control.sock\n"
    daemon.start()
    daemon.kill()
    failed = daemon.run("status")
    assert failed.returncode == 1
    assert failed.stderr == f"facaded: not running: {daemon.directory}/control.sock is left over from an earlier run\n"


def test_a_socket_without_permission_is_explained(needs: Callable[..., None], daemon: Daemon) -> None:
    daemon.start()
    socket = daemon.directory / "control.sock"
    socket.chmod(0)
    command = [sys.executable, "-m", "facaded", "status", "--config", str(daemon.config)]
    if os.geteuid() == 0:  # may connect whatever the mode, unless it gives that up
        needs("setpriv")
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=WAIT, check=False)
    assert failed.stderr == (
        f'facaded: permission denied on {socket}: use sudo, or set listen.control = "unix:{socket}:mode=660"\n'
    )
    assert failed.returncode == 1


def test_check_says_what_the_settings_mean_and_probes_on_request(daemon: Daemon, main: Registry) -> None:
    daemon.write_settings(daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/app"'))
    lines = daemon.run("check").stdout.splitlines()
    assert lines[0] == f"{daemon.config}: the settings can be used"
    assert "Order         main, then second" in lines
    assert f"Control       {daemon.directory}/control.sock" in lines
    assert main.requests == []
    result = daemon.run("check", "--probe")
    assert result.returncode == 0
    assert re.search(r"^main: OK, all steps passed \(\d+ ms\)$", result.stdout, re.MULTILINE)
    main.stop()
    result = daemon.run("check", "--probe")
    assert result.returncode == 1
    assert "main: FAILED at GET /v2/: connection refused (" in result.stdout
    document = json.loads(daemon.run("check", "--probe", "--json").stdout)
    assert document["meaning"]["routes"] == [{"repositories": [], "backends": ["main", "second"]}]
    assert document["probes"]["main"]["reason"] == "connection refused"
    assert document["acme"] is None
    result = daemon.run("check", "--dry-run")
    assert (result.returncode, result.stdout) == (2, "")
    assert "--dry-run orders the certificates of [tls.acme], and the settings have none" in result.stderr
    daemon.write_settings("bogus = 1")
    result = daemon.run("check")
    assert (result.returncode, result.stdout) == (2, "")
    assert "bogus: unknown key" in result.stderr


def test_pins_and_drains_take_effect_at_once_and_outlive_restart_and_reload(daemon: Daemon) -> None:
    daemon.start()
    pinned = daemon.run("pin", "second", "--for", "2h")
    assert (pinned.returncode, pinned.stdout) == (0, "second is active: it is pinned for another 2 h\n")
    assert daemon.backend == "second"
    assert daemon.run("drain", "main").returncode == 0
    daemon.kill()
    daemon.start()
    assert daemon.run("reload").returncode == 0
    assert daemon.backend == "second"
    assert daemon.status()["why"] == "second is active: it is pinned for another 2 h"
    assert daemon.status()["pins"]["second"]["until"] > time.time() + 7000
    assert daemon.status()["backends"][0]["drained"]["until"] is None
    assert daemon.run("unpin").stdout == "second is active: main is drained\n"
    assert "up, drained" in daemon.run("status").stdout
    daemon.run("undrain", "main")
    daemon.wait_until(lambda: daemon.backend == "main", "failback")


@pytest.mark.parametrize(
    ("before", "command", "sentence"),
    [
        ((), ("pin", "nobody"), "no route has a backend called 'nobody': choose from main, second"),
        ((), ("drain", "nobody"), "no route has a backend called 'nobody': choose from main, second"),
        ((), ("undrain", "nobody"), "no route has a backend called 'nobody': choose from main, second"),
        (("drain", "main"), ("pin", "main"), "main is drained: undrain it first, or pin another backend"),
        (("pin", "main"), ("drain", "main"), "main is pinned: unpin it first, or drain another backend"),
    ],
)
def test_contradictory_overrides_are_refused_with_a_sentence(
    daemon: Daemon, before: tuple[str, ...], command: tuple[str, ...], sentence: str
) -> None:
    daemon.start()
    if before:
        assert daemon.run(*before).returncode == 0
    refused = daemon.run(*command)
    assert (refused.returncode, refused.stderr) == (2, f"facaded: {sentence}\n")


def test_nothing_to_undo_is_success_with_a_warning(daemon: Daemon) -> None:
    daemon.start()
    for command, warning in ((("unpin",), "no backend was pinned"), (("undrain", "main"), "main was not drained")):
        answer = daemon.run(*command)
        assert answer.returncode == 0
        assert answer.stdout == f"main is active: it is the preferred backend and is up\nwarning: {warning}\n"


@pytest.mark.parametrize("time_", ["soon", "2", "-2h", "0s", "10000h"])
def test_an_invalid_time_is_a_usage_error(daemon: Daemon, time_: str) -> None:
    refused = daemon.start().run("pin", "main", f"--for={time_}")
    assert refused.returncode == 2
    assert "write a number and a unit" in refused.stderr or "out of range" in refused.stderr


def test_a_pull_is_explained_with_and_without_a_daemon(daemon: Daemon, main: Registry) -> None:
    daemon.write_settings()
    without_daemon = daemon.run("explain", "org/app", "--client", "podman")
    assert without_daemon.returncode == 0
    assert "served from main, else second" in without_daemon.stdout
    assert without_daemon.stdout.endswith("no daemon is running: this assumes that every backend is up\n")
    daemon.start()
    daemon.run("pin", "second")
    with_daemon = daemon.run("explain", "org/app", "--client", "podman")
    assert "served from second, else main" in with_daemon.stdout
    assert with_daemon.stdout.endswith("second is active: it is pinned\n")
    assert f"307 to {main.url}" not in daemon.run("explain", "org/app").stdout
    assert daemon.run("explain", "evil/app").returncode == 1
    assert daemon.run("explain", "Org/App").returncode == 2
    assert daemon.run("explain", "org/app", "--client", "docket").returncode == 2


def test_the_hosts_for_firewalls_are_those_of_the_settings_and_those_that_were_seen(
    daemon: Daemon, main: Registry
) -> None:
    daemon.write_settings()
    without_daemon = daemon.run("hosts")
    assert without_daemon.returncode == 0
    assert f"registry  facaded, clients  expected  127.0.0.2:{main.port}\n" in without_daemon.stdout
    assert "No daemon is running" in without_daemon.stdout
    assert json.loads(daemon.run("hosts", "--json").stdout)["daemon"] is False
    daemon.start()
    with_daemon = daemon.run("hosts")
    assert "No daemon" not in with_daemon.stdout
    assert re.search(
        rf"^main +registry +facaded, clients +expected, seen +127.0.0.2:{main.port}$", with_daemon.stdout, re.M
    )
    assert re.search(rf"^main +token server +facaded, clients +seen +127.0.0.2:{main.port}$", with_daemon.stdout, re.M)
