"""The status over HTTP: of a real daemon, with and without history, with several processes, and over a restart."""

import json
from typing import Any

from tests.process.daemon import WAIT, Daemon, Registry

CLIENT = {"User-Agent": "containerd/2.1.9"}
BROWSER = {"User-Agent": "Mozilla/5.0", "Accept": "text/html,*/*;q=0.8"}


def overview(daemon: Daemon) -> dict[str, Any]:
    status, headers, body = daemon.get("/status.json", port=daemon.admin, host="127.0.0.1")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    document: dict[str, Any] = json.loads(body)
    return document


def statusz(daemon: Daemon) -> str:
    return daemon.get("/statusz", port=daemon.admin, host="127.0.0.1")[2].decode().strip()


def page(daemon: Daemon) -> str:
    return daemon.get("/", port=daemon.admin, host="127.0.0.1")[2].decode()


def test_it_has_the_facts_of_status_statusz_and_log(daemon: Daemon, main: Registry, second: Registry) -> None:
    daemon.start()
    assert overview(daemon)["headline"]["text"] == "Clients are fine"
    main.mode = "500"
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    daemon.wait_until(lambda: overview(daemon)["headline"]["level"] == "amber", "the page shows it")
    shown, status = overview(daemon), daemon.status()
    assert (
        shown["status"]["why"].partition(" (")[0]
        == status["why"].partition(" (")[0]
        == "second is active: main is down"
    )
    for key in ("level", "text", "remarks"):
        assert shown["headline"][key] == status["headline"][key]
    assert shown["backends"][0]["steps"][0]["failed"] is True
    down = next(change["text"] for change in shown["changes"] if change["kind"] == "down")
    daemon.wait_for_log(down)
    second.stop()
    daemon.wait_until(lambda: overview(daemon)["headline"]["level"] == "red", "the outage")
    daemon.wait_until(lambda: overview(daemon)["headline"]["text"].endswith(statusz(daemon)), "the same sentence")
    daemon.wait_until(lambda: statusz(daemon) in page(daemon), "the same sentence on the page")


def test_the_last_day_changes_and_pulls_outlive_a_restart(daemon: Daemon) -> None:
    daemon.start()
    for tag in ("v1", "v2"):
        assert daemon.get(f"/v2/org/app/manifests/{tag}", headers=CLIENT)[0] == 307
    assert daemon.stop() == 0
    daemon.start()
    daemon.wait_until(lambda: overview(daemon)["pulls"], "the history is read", 2 * WAIT)
    shown = overview(daemon)
    assert shown["history"] == ""
    assert shown["pulls"]["images"] == [{"name": "org/app", "pulls": 2, "checks": 0, "signatures": 0}]
    assert [change["kind"] for change in shown["changes"]].count("started") == 2
    assert "off" in [span["condition"] for span in shown["backends"][0]["day"]]
    assert "org/app" in page(daemon)


def test_without_a_history_it_says_so(daemon: Daemon) -> None:
    daemon.settings = f"{daemon.settings}\n[history]\ndays = 0\n"
    daemon.start()
    shown = overview(daemon)
    assert (shown["history"], shown["pulls"]) == ("the history is off: set history.days above 0, then reload", None)
    assert {"main is up", "second is up"} <= {change["text"] for change in shown["changes"]}
    assert "The last 24 hours are not shown: the history is off" in page(daemon)


def test_several_processes_are_summed_up(daemon: Daemon) -> None:
    daemon.settings = f"workers = 2\n{daemon.settings}"
    daemon.start()
    daemon.wait_until(lambda: daemon.answering == 2, "both answer")
    for number in range(40):  # each over a connection of its own, so that both processes have some
        daemon.get(f"/v2/org/app/manifests/v{number}", headers=CLIENT)

    def count() -> int:
        requests = overview(daemon)["requests"]
        total: float = sum(rate["per_second"] for rate in requests["rates"]) * requests["window"]
        return round(total)

    daemon.wait_until(lambda: abs(count() - 40) <= 1, "all are counted")
    assert [worker["number"] for worker in overview(daemon)["status"]["workers"]] == [0, 1]
    assert "Processes" in page(daemon)


def test_no_address_of_a_client_is_in_it(daemon: Daemon) -> None:
    daemon.settings = f"{daemon.settings}\n[limits]\nrequests_per_source = 1\n"
    daemon.start()
    for _ in range(40):
        daemon.get("/v2/", headers=CLIENT)
    daemon.wait_until(lambda: overview(daemon)["status"]["limits"], "the limit was reached")
    assert overview(daemon)["status"]["limits"][0]["subject"] == ""
    assert daemon.status()["limits"][0]["subject"] == "127.0.0.1"


def test_a_browser_gets_the_page_of_an_image_and_clients_do_not(daemon: Daemon) -> None:
    daemon.start()
    status, headers, body = daemon.get("/org/app:v1", headers=BROWSER)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"docker pull THIS-HOST/org/app:v1<" in body
    assert daemon.get("/not/listed", headers=BROWSER)[2] == body.replace(b"org/app:v1", b"not/listed")
    assert daemon.get("/org/app:v1", headers=CLIENT)[0] == 404
    for path in ("/_facaded/page.css", "/_facaded/page.js"):
        status, headers, _ = daemon.get(path)
        assert status == 200
        assert daemon.get(path, headers={"If-None-Match": headers["ETag"]})[0] == 304
