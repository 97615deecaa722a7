"""Starts, stops, new settings, and other daemons on the same directory."""

import shutil

import pytest
from attrs import evolve

from facaded.tls.acme.schedule import DAY, FAILURES_AN_HOUR, HOUR, MINUTE, OrderStage
from facaded.tls.acme.store import AcmeStore, StoreError
from tests.tls.acme.memory import CLOSED, NAME, AcmeHarness, CreateHarness


def test_a_valid_certificate_is_used_after_a_restart_without_an_order(create: CreateHarness) -> None:
    harness = create().start()
    old, before = harness.certificate, len(harness.ca.requests)
    harness.acme.stopService()
    harness.restart()
    assert harness.certificate == old
    harness.start()
    assert harness.ca.requests[before:] == ["directory"], "for renewal information"


def test_waits_survive_a_restart(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start()
    before = harness.status
    harness.acme.stopService()
    harness.restart()
    assert harness.status == before
    harness.start(4 * MINUTE)
    assert len(harness.ca.failed) == 1


def test_an_order_that_a_stop_interrupted_is_repeated_at_the_next_start(create: CreateHarness) -> None:
    harness = create()
    harness.ca.hangs = True
    harness.start(1)
    stopped = harness.acme.stopService()
    assert stopped is not None
    harness.network.settle()
    assert stopped.called
    assert harness.network.clock.getDelayedCalls() == []
    harness.ca.hangs = False
    harness.restart()
    assert harness.status["error"] is None
    assert harness.start(30).certificate is None, "repeated restarts must not flood a CA"
    harness.network.pass_time(60)
    assert harness.certificate is not None


def test_restarts_during_authorizations_stay_within_the_limits(create: CreateHarness) -> None:
    harness = create()
    harness.ca.stalls = True
    for _ in range(50):
        harness.start(61)
        harness.acme.stopService()
        harness.network.settle()
        assert harness.responder.alpn == {}
        harness.restart()
    assert harness.ca.requests.count("order") == 5


def stall_at(harness: AcmeHarness, stage: OrderStage) -> None:
    """Make the CA stall an order at this stage."""
    harness.ca.stalls = stage is OrderStage.AUTHORIZING
    if stage is OrderStage.ISSUED:
        harness.ca.lies["look"] = lambda document: (
            document.update(status="processing") if "certificate" in document else None
        )


def kill(harness: AcmeHarness) -> None:
    """Start a new client on a copy of the directory, so that it does not see what the old one writes when it stops."""
    copy = harness.directory.with_name(harness.directory.name + "x")
    shutil.copytree(harness.directory, copy)
    harness.directory = copy
    harness.acme.stopService()
    harness.network.settle()
    harness.restart()


@pytest.mark.parametrize("end", ["stop", "kill", "reload"])
@pytest.mark.parametrize(("stage", "limit"), [(OrderStage.AUTHORIZING, 5), (OrderStage.ISSUED, 3)])
def test_interrupted_orders_stay_within_the_limits(
    create: CreateHarness, end: str, stage: OrderStage, limit: int
) -> None:
    harness = create()
    stall_at(harness, stage)
    harness.start(2)
    for count in range(12):
        match end:
            case "stop":
                harness.acme.stopService()
                harness.network.settle()
                harness.restart()
                harness.acme.startService()
            case "kill":
                kill(harness)
                harness.acme.startService()
            case "reload":
                harness.reconfigure(evolve(harness.settings, email=f"{count}@example.com"))
        harness.network.pass_time(63)
    assert harness.ca.requests.count("challenge" if stage is OrderStage.AUTHORIZING else "finalize") == limit
    assert harness.status["next_renewal"] > harness.network.now() + 40 * MINUTE


def test_events_saved_in_advance_are_dropped_when_the_order_succeeds(create: CreateHarness) -> None:
    harness = create().start()
    progress = AcmeStore(harness.directory, print).progress([NAME])
    assert (progress.failed, progress.extras) == ({}, {})


def test_a_failure_at_the_first_ca_counts_although_the_second_issues_a_certificate(create: CreateHarness) -> None:
    harness = create("first", "second")
    harness.network.cas["first"].refusal = CLOSED
    harness.start()
    assert harness.certificate is not None
    assert list(AcmeStore(harness.directory, print).progress([NAME]).failed) == ["https://first.test/directory"]


def test_an_order_of_a_killed_daemon_is_not_repeated_immediately(create: CreateHarness) -> None:
    harness = create()
    harness.ca.hangs = True
    harness.start(1)
    harness.restart()  # without a stop
    assert harness.status["next_renewal"] == pytest.approx(harness.network.now() + 59, abs=2)


def test_new_settings_are_applied_and_keep_their_certificates(create: CreateHarness) -> None:
    harness = create().start()
    old = harness.certificate
    domains = ((NAME,), ("b.example.com",))
    harness.reconfigure(evolve(harness.settings, domains=domains))
    assert harness.certificate == old
    harness.network.pass_time(30)
    assert harness.acme.current()[NAME,] == old
    assert harness.acme.current()["b.example.com",].names == ("b.example.com",)


def test_an_operator_who_renews_too_often_gets_the_earliest_time(create: CreateHarness) -> None:
    harness = create().start()
    for _ in range(3):
        assert harness.acme.renew() == ()
        harness.network.pass_time(MINUTE)
    assert len(harness.ca.issued) == 4
    assert harness.acme.renew() == (f"{NAME}: the CA's limits allow no attempt before 2027-01-22 08:00 UTC",)
    harness.network.pass_time(MINUTE)
    assert len(harness.ca.issued) == 4


def test_two_daemons_on_one_directory_share_certificates_and_waits(create: CreateHarness, log: list[str]) -> None:
    harness = create().start()
    first = harness.acme
    harness.restart()
    harness.start()
    first.renew()
    harness.network.pass_time(2 * MINUTE)
    assert len(harness.ca.issued) == 2
    assert harness.certificate == first.current()[NAME,]
    assert [line for line in log if line == f"{NAME}: another daemon has renewed the certificate"]
    harness.network.sleep(70 * DAY)
    assert len(harness.ca.issued) == 3
    assert harness.certificate == first.current()[NAME,]
    first.stopService()


def test_two_daemons_that_renew_repeatedly_stay_within_the_limits_of_one(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start()
    first = harness.acme
    harness.restart()
    harness.start()
    for _ in range(20):
        for acme in (first, harness.acme):
            acme.renew()
            harness.network.pass_time(MINUTE / 2)
    assert len(harness.ca.failed) == FAILURES_AN_HOUR
    first.stopService()


def test_an_order_waits_while_another_daemon_is_ordering(create: CreateHarness, log: list[str]) -> None:
    harness = create()
    with AcmeStore(harness.directory, log.append).locked() as has_lock:
        assert has_lock
        harness.start()
        assert harness.error == "another daemon with the same state.directory is ordering certificates"
        assert harness.ca.requests == []
    harness.network.pass_time(30)
    assert harness.certificate is not None
    assert harness.status["error"] is None


def test_a_certificate_of_a_ca_that_was_removed_is_replaced_immediately(create: CreateHarness) -> None:
    harness = create("staging", "production")
    staging, production = harness.settings.cas
    harness.reconfigure(evolve(harness.settings, cas=(staging,)))
    harness.start()
    assert harness.status["issuer"] == "staging CA"
    harness.reconfigure(evolve(harness.settings, cas=(production,)))
    assert harness.certificate is not None
    harness.network.pass_time(30)
    assert harness.status["issuer"] == "production CA"


def test_switching_between_cas_repeatedly_stays_within_the_limits(create: CreateHarness) -> None:
    harness = create("first", "second").start()
    for count in range(12):
        harness.reconfigure(evolve(harness.settings, cas=(harness.settings.cas[count % 2 - 1],)))
        harness.network.pass_time(70)
    assert [len(ca.issued) for ca in harness.network.cas.values()] == [4, 3], (
        "the first certificate counts against no limit"
    )


def test_failures_count_for_a_name_whichever_entry_has_it(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start()
    for count in range(12):
        harness.reconfigure(evolve(harness.settings, domains=((NAME, f"{count}.example.com"),)))
        harness.network.pass_time(70)
    assert harness.ca.requests.count("order") == FAILURES_AN_HOUR


def test_preparing_new_settings_changes_nothing(create: CreateHarness) -> None:
    harness = create().start()
    before, requests = harness.status, harness.network.request_count
    prepared = harness.acme.prepare(evolve(harness.settings, domains=(("b.example.com",), (NAME,))))
    harness.network.pass_time(10)
    assert (harness.status, len(harness.acme.status())) == (before, 1)
    assert harness.network.request_count == requests
    harness.acme.reconfigure(prepared)
    assert [status.names for status in harness.acme.status()] == [("b.example.com",), (NAME,)]
    harness.network.pass_time(30)
    assert len(harness.acme.current()) == 2


def test_settings_that_cannot_be_prepared_change_nothing(create: CreateHarness) -> None:
    harness = create().start()
    before = harness.status
    path = harness.directory / "certificates" / "b.example.com" / "certificate.pem"
    path.mkdir(parents=True)  # not even root can read a directory as a file
    with pytest.raises(StoreError, match="cannot be stored"):
        harness.acme.prepare(evolve(harness.settings, domains=((NAME,), ("b.example.com",))))
    assert (harness.status, len(harness.acme.status())) == (before, 1)
    harness.network.pass_time(HOUR)
    assert len(harness.ca.issued) == 1
    path.rmdir()
