"""Which registry a real daemon is on: in outages, after them, and over restarts."""

import time

import pytest

from tests.process.daemon import Daemon, Registry, can_connect, fail, wait_until


@pytest.mark.parametrize(
    ("how", "seconds", "reason"),
    [
        ("refuse", 3, "GET /v2/: connection refused"),
        ("hang", 7, "GET /v2/: time-out"),
        ("500", 3, "GET /v2/: answered 500"),
        ("no-token", 3, "token server: answered 500"),
    ],
)
def test_an_outage_is_noticed_in_time_and_after_it_the_first_is_in_charge_again(
    daemon: Daemon, main: Registry, how: str, seconds: float, reason: str
) -> None:
    daemon.start()
    assert daemon.backend == "main"
    fail(main, how)
    took = daemon.wait_until(lambda: daemon.backend == "second", "failover")
    assert took <= seconds, f"interval + (fall - 1) x fast_interval (+ fall x timeout): {seconds} s"
    assert daemon.log.count(f"main is down ({reason}); second is active") == 1
    assert daemon.status()["why"] == f"second is active: main is down ({reason})"
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
    assert daemon.status()["why"].startswith("second is active: main takes over in 1 h")


def test_with_an_empty_list_nothing_is_ever_sent_to_the_second(
    daemon: Daemon, main: Registry, second: Registry
) -> None:
    daemon.settings = daemon.settings.replace('repositories = ["org/*"]', "")
    daemon.start()
    assert daemon.get("/v2/any/thing/manifests/latest")[1]["X-Facaded-Backend"] == "main"
    main.stop()
    daemon.wait_until(lambda: "main is down" in daemon.log, "the outage is noticed")
    assert daemon.get("/v2/any/thing/manifests/latest")[1]["X-Facaded-Backend"] == "main"
    assert daemon.backend == "main"
    assert second.asked == []
    why = "repositories: empty, so there is no failover: every request goes to main and none to second"
    assert why in daemon.log
    assert why in daemon.run("check").stdout
    assert why in daemon.run("status").stdout
    assert daemon.run("status").stdout.splitlines()[2].split()[:3] == ["second", "not", "used"]


@pytest.mark.parametrize("how", ["refuses", "manifests-500"])
def test_a_registry_that_fails_for_manifests_alone_is_left_in_time(
    with_canary: Daemon, main: Registry, how: str
) -> None:
    main.mode = how
    took = with_canary.wait_until(lambda: with_canary.backend == "second", "failover")
    assert took < 2 + 0.5 + 2 * 2
    assert "main is down (manifest: " in with_canary.log


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
    assert status["active"] == "main"
    serving = next(each for each in status["routes"] if each["for"] == "serve")
    assert (serving["backend"], serving["why"]) == (
        "second",
        "second is active: main is limited (manifest: no pulls left)",
    )
    assert status["backends"][0]["pulls_left"]["address"]["remaining"] == 0
    assert status["backends"][0]["limited_until"] > time.time() + 21000
    table = with_canary.run("status").stdout
    assert "for serving, second is active: main is limited (manifest: no pulls left)" in table
    assert "main grants this machine's address 0 more pulls of 100 in 6 h" in table
