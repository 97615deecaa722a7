"""The active backend of a daemon: during outages, after them, and after restarts."""

import time

import pytest

from tests.process.daemon import Daemon, Registry, can_connect, fail, wait_until


@pytest.mark.parametrize(
    ("fault", "seconds", "reason"),
    [
        ("refuse", 3, "GET /v2/: connection refused"),
        ("hang", 8.5, "GET /v2/: timeout"),
        ("500", 3, "GET /v2/: answered 500"),
        ("no-token", 3, "token server: answered 500"),
    ],
)
def test_an_outage_is_noticed_in_time_and_the_first_backend_becomes_active_again(
    daemon: Daemon, main: Registry, fault: str, seconds: float, reason: str
) -> None:
    daemon.start()
    assert daemon.backend == "main"
    fail(main, fault)
    took = daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert took <= seconds, f"interval + (fall - 1) x fast_interval (+ fall x (timeout + 1 s to confirm)): {seconds} s"
    daemon.wait_for_log(f"main is down ({reason}; 5 of 5 confirming requests failed); second is active")
    assert daemon.status()["why"] == f"second is active: main is down ({reason}; 5 of 5 confirming requests failed)"
    main.mode = "token"
    if main.server is None:
        main.start()
    took = daemon.wait_until(lambda: daemon.backend == "main", "failback")
    assert took >= 1, "failback_after"


def test_a_healthy_backend_is_probed_once_per_interval(daemon: Daemon, main: Registry) -> None:
    daemon.start()
    before = main.requests.count("/v2/")
    time.sleep(5)
    assert 2 <= main.requests.count("/v2/") - before <= 3


@pytest.mark.parametrize("fault", ["refuse", "hang"])
@pytest.mark.parametrize("state", ["with", "without"])
@pytest.mark.parametrize("noticed", ["noticed", "while it was stopped"])
def test_after_a_restart_during_an_outage_the_first_request_goes_to_the_second_backend(
    daemon: Daemon, main: Registry, fault: str, state: str, noticed: str
) -> None:
    daemon.start()
    if noticed == "noticed":
        fail(main, fault)
        daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert daemon.stop() == 0
    fail(main, fault)
    if state == "without":
        (daemon.directory / "state" / "state.json").unlink()
    daemon.spawn()
    wait_until(lambda: can_connect(daemon.port), "listening")
    # It came while the daemon was starting, and waited. After 1 s without a proof it is served, which counts as well.
    status, headers, _ = daemon.get("/v2/org/app/manifests/v1", headers={"User-Agent": "containerd/2.1.9"})
    assert status in (200, 307)
    assert headers["X-Facaded-Backend"] == "second"


def test_a_restart_does_not_shorten_the_wait_for_a_failback(daemon: Daemon, main: Registry) -> None:
    daemon.settings = daemon.settings.replace('failback_after = "1s"', 'failback_after = "1h"')
    daemon.start()
    main.stop()
    daemon.wait_until(lambda: daemon.backend == "second", "failover")
    daemon.stop()
    main.start()
    daemon.start()
    time.sleep(1.5)
    assert daemon.backend == "second"
    assert daemon.status()["why"].startswith("second is active: main takes over in 1 h")


def test_without_repositories_no_request_goes_to_the_second_backend(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    daemon.settings = daemon.settings.replace('repositories = ["org/*"]', "")
    daemon.start()
    assert daemon.get("/v2/any/thing/manifests/latest")[1]["X-Facaded-Backend"] == "main"
    main.stop()
    outage = "ALL BACKENDS DOWN (main: connection refused); main stays active"
    daemon.wait_until(lambda: outage in daemon.log, "the outage is noticed")
    assert daemon.get("/v2/any/thing/manifests/other")[1]["X-Facaded-Backend"] == "main"
    assert daemon.backend == "main"
    assert second.requests == []
    why = "repositories: empty, so there is no failover: every request goes to main and none to second"
    daemon.wait_for_log(why)
    assert why in daemon.check()
    status = daemon.run("status").stdout
    assert why in status.replace("\n  ", " ")
    assert status.splitlines()[4].split()[:3] == ["second", "not", "used"]


@pytest.mark.parametrize("fault", ["refuses", "manifests-500"])
def test_a_registry_that_fails_only_for_manifests_is_failed_over_in_time(
    with_canary: Daemon, main: Registry, fault: str
) -> None:
    main.mode = fault
    took = with_canary.wait_until(lambda: with_canary.backend == "second", "failover")
    assert took < 2 + 0.5 + 2 * 2
    with_canary.wait_for_log("main is down (manifest: ")


def test_a_canary_that_no_backend_has_had_takes_none_down(daemon: Daemon, main: Registry) -> None:
    main.mode = "refuses"  # from the first probe on: it has never had it
    daemon.settings = daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/typo"')
    daemon.start()
    assert daemon.backend == "main"
    daemon.wait_for_log("main drifts: answered 401 for the canary")
    table = daemon.run("status").stdout
    assert "up, drift" in table
    assert "main: drift: answered 401 for the canary" in table


def test_a_registry_without_pulls_left_stays_active_for_redirects_and_status_says_so(
    with_canary: Daemon, main: Registry
) -> None:
    main.mode = "used-up"
    with_canary.wait_until(lambda: with_canary.status()["backends"][0]["state"] == "limited", "limited")
    status = with_canary.status()
    assert status["active"] == "main"
    serving = next(route for route in status["routes"] if route["for"] == "serve")
    assert (serving["backend"], serving["why"]) == (
        "second",
        "second is active: main is limited (manifest: no pulls left)",
    )
    assert status["backends"][0]["pulls_left"]["address"]["remaining"] == 0
    assert status["backends"][0]["limited_until"] > time.time() + 21000
    table = with_canary.run("status").stdout
    assert "for serving, second is active: main is limited (manifest: no pulls left)" in table
    assert "main: 0 pulls left of 100 in 6 h for this machine's address" in table
