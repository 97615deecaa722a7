"""The commands, with and without a running daemon; and the admin listener."""

import time

import pytest

from tests.process.daemon import Daemon, Registry


def test_status_is_a_table_for_a_person_and_json_for_a_program(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    shown = daemon.run("status")
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[0].split() == ["BACKEND", "STATE", "SINCE", "LAST", "FAILED", "STEP", "URL"]
    assert "main is active: it is the preferred backend and is up" in shown.stdout.splitlines()
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    shown = daemon.run("status")
    assert shown.returncode == 1
    row = next(line for line in shown.stdout.splitlines() if line.startswith("main "))
    assert "GET /v2/: connection refused" in row
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


def test_a_pin_and_a_drain_are_in_force_at_once_and_outlive_restart_and_reload(daemon: Daemon) -> None:
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
    assert known.stdout.endswith("second is active: it is pinned\n")
    assert f"307 to {main.url}" not in daemon.run("explain", "org/app").stdout
    assert daemon.run("explain", "evil/app").returncode == 1
    assert daemon.run("explain", "Org/App").returncode == 2
    assert daemon.run("explain", "org/app", "--client", "docket").returncode == 2
