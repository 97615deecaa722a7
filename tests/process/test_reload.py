"""Reloads of a running daemon, by command and by signal."""

import signal

import pytest

from tests.process.daemon import Daemon, Registry, can_connect, wait_until


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
    daemon.wait_for_log("not reloaded", times=2)
    assert daemon.get("/v2/org/app/tags/list")[0] == 307
    assert daemon.run("status").returncode == 0, "its socket is found although the file is invalid"
    daemon.write_settings(good.replace('"org/*"', '"new/*"'))
    assert reload() == 0
    daemon.wait_until(lambda: daemon.get("/v2/new/app/tags/list")[0] == 307, "reloaded")
    daemon.wait_until(lambda: daemon.get("/v2/org/app/tags/list")[0] == 403, "reloaded in every process")


def test_a_reload_changes_the_limits(daemon: Daemon) -> None:
    def ask() -> int:
        return daemon.get("/v2/org/app/tags/list", headers={"User-Agent": "podman/5"})[0]

    daemon.start()
    good = daemon.settings
    daemon.write_settings(f"{good}\n[limits]\nbackend_requests_per_source = 1\n")
    assert daemon.run("reload").returncode == 0
    daemon.wait_until(lambda: ask() == 429, "limited")
    sentence = "limit reached: backend_requests_per_source, by 127.0.0.1"
    daemon.wait_until(lambda: sentence in daemon.log, "it is logged")
    daemon.write_settings(good)
    assert daemon.run("reload").returncode == 0
    assert ask() == 200


def test_a_reload_says_that_changed_listeners_need_a_restart(daemon: Daemon) -> None:
    sentence = "listen.http changed: listeners change only at a restart; restart facaded"
    daemon.start()
    good, port = daemon.settings, daemon.port
    daemon.port = 1
    daemon.write_settings(good.replace('"org/*"', '"new/*"'))
    reloaded = daemon.run("reload")
    assert (reloaded.returncode, reloaded.stderr) == (1, f"facaded: {sentence}\n")
    daemon.wait_for_log(sentence)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_log(sentence, times=2)
    daemon.port = port
    assert daemon.get("/v2/new/app/tags/list")[0] == 307, "everything else is in force"


def test_sighup_reloads_before_the_daemon_is_ready_too(daemon: Daemon, main: Registry, second: Registry) -> None:
    main.mode = second.mode = "hang"
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_until(lambda: "reloaded" in daemon.log, "reloaded")
    daemon.wait_until(lambda: daemon.ready, "ready")


def test_a_reload_to_client_credentials_is_refused_with_the_open_listener(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    port, daemon.port = daemon.port, 1
    private = f'repositories = ["org/*"]\n[[backend]]\nname = "main"\nurl = "{main.url}"\nauth = "client"\n'
    daemon.write_settings(private)
    refused = daemon.run("reload")
    daemon.port = port
    assert refused.returncode == 2
    assert 'auth = "client" forbids the open listener' in refused.stderr
    assert daemon.backend == "main", "a redirect, as before"
    daemon.write_settings(private)
    assert daemon.run("reload").returncode == 0
    status, headers, _ = daemon.get("/v2/")
    assert status == 401
    assert headers["WWW-Authenticate"] == f'Bearer realm="{main.url}/token",service="test"'
