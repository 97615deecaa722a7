"""The history of a running daemon: what happened and was pulled is shown, also after a restart, by any process."""

import json
import sqlite3
import time
from typing import Any

from facaded.history.history_file import LOCK_WAIT
from tests.process.daemon import Daemon, Registry, running

CLIENT = {"User-Agent": "containerd/2.1.9"}


def pull(daemon: Daemon, tag: str) -> None:
    assert daemon.get(f"/v2/org/app/manifests/{tag}", headers=CLIENT)[0] == 307


def statistics(daemon: Daemon, *options: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(daemon.run("stats", "--json", *options).stdout)
    return document


def test_a_failover_and_the_pulls_are_shown_after_a_restart(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    for tag in ("v1", "v2"):
        pull(daemon, tag)
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert daemon.stop() == 0
    main.start()
    daemon.start()
    daemon.wait_until(lambda: "started" in daemon.run("history").stdout, "the history")
    history = daemon.run("history").stdout
    assert history.count("facaded 0.1.0 started") == 2
    assert "main is down (GET /v2/: connection refused" in history
    assert "second is active" in history
    document = json.loads(daemon.run("history", "--days", "1", "--json").stdout)
    assert {"down", "failover", "stopped"} <= {change["kind"] for change in document["changes"]}
    counted = statistics(daemon)
    assert counted["total"]["pulls"] == 2
    assert counted["images"] == [{"name": "org/app", "pulls": 2, "checks": 0, "signatures": 0}]
    assert [tag["name"] for tag in statistics(daemon, "--image", "org/app")["tags"]] == ["v1", "v2"]
    shown = daemon.run("stats", "--image", "org/app").stdout
    assert "2 pulls of org/app in the last 30 days" in shown
    assert max(map(len, (*shown.splitlines(), *history.splitlines()))) <= 80


def test_days_that_are_none_are_refused(daemon: Daemon) -> None:
    daemon.start()
    failed = daemon.run("stats", "--days", "0")
    assert (failed.returncode, failed.stderr) == (2, "facaded: days: expected a whole number from 1 to 3650\n")


def test_a_reload_switches_the_history_off_and_its_file_stays(daemon: Daemon) -> None:
    daemon.start()
    daemon.wait_until(lambda: "started" in daemon.run("history").stdout, "the history")
    daemon.write_settings(f"{daemon.settings}\n[history]\ndays = 0\n")
    assert daemon.run("reload").returncode == 0
    refused = daemon.run("history")
    assert refused.stderr == "facaded: the history is off: set history.days above 0, then reload\n"
    assert refused.returncode == 2
    assert daemon.stop() == 0
    assert [path.name for path in daemon.directory.rglob("history.db*")] == ["history.db"]


def test_a_history_that_another_process_uses_stops_with_one_warning_and_nothing_else(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop() == 0
    (path,) = daemon.directory.rglob("history.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    daemon.start()
    daemon.wait_until(lambda: "cannot be written (database is locked)" in daemon.log, "the warning")
    pull(daemon, "v1")
    refused = daemon.run("history")
    assert "cannot be written (database is locked): nothing is recorded now" in refused.stderr
    assert daemon.stop() == 0
    assert daemon.log.count("database is locked") == 1
    other.close()


def test_a_damaged_history_is_set_aside(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop() == 0
    (path,) = daemon.directory.rglob("history.db")
    path.write_bytes(b"damaged" * 10_000)
    daemon.start()
    daemon.wait_until(lambda: "the history is damaged: it is now" in daemon.log, "the warning")
    assert daemon.run("history").stdout.count("started") == 1
    assert len(list(path.parent.glob("history.db.damaged-*"))) == 1


def test_pulls_that_workers_answer_are_counted(daemon: Daemon) -> None:
    daemon.settings = f"workers = 2\n{daemon.settings}"
    daemon.start()
    for number in range(20):  # each over a connection of its own, so that both processes have some
        pull(daemon, f"v{number}")
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait_until(lambda: daemon.run("stats").returncode == 0, "the history")
    assert statistics(daemon)["total"]["pulls"] == 20
    assert daemon.stop() == 0
    (path,) = daemon.directory.rglob("history.db")
    connection = sqlite3.connect(path)
    query = "SELECT sum(count) FROM requests JOIN words ON id = family WHERE word = 'containerd'"
    assert connection.execute(query).fetchone() == (20,)
    connection.close()


def test_a_second_daemon_with_the_same_directory_leaves_the_history_to_the_first(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    daemon.start()
    daemon.wait_until(lambda: "started" in daemon.run("history").stdout, "the history")
    (daemon.directory / "second").mkdir()
    (daemon.directory / "second" / "state").symlink_to(daemon.directory / "state")
    other = Daemon(daemon.directory / "second", daemon.settings)
    with running(other, main, second):
        other.start()
        other.wait_until(lambda: "cannot be written (database is locked)" in other.log, "the warning")
        pull(daemon, "v1")
        pull(other, "v2")
        assert daemon.stop() == 0
        assert other.stop() == 0
    assert "cannot be written" not in daemon.log
    daemon.start()
    daemon.wait_until(lambda: daemon.run("stats").returncode == 0, "the history")
    assert [tag["name"] for tag in statistics(daemon, "--image", "org/app")["tags"]] == ["v1"]


def test_a_locked_history_does_not_delay_the_stop(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop() == 0
    (path,) = daemon.directory.rglob("history.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    daemon.start()
    began = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - began < LOCK_WAIT + 2
    assert daemon.log.count("database is locked") == 1
    other.close()
