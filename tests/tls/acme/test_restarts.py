"""Starts, stops, new settings, and other daemons on the same directory."""

import shutil
from pathlib import Path

import pytest
from attrs import evolve

from facaded.tls.acme.ledger import FAILURES_AN_HOUR, CaLedger
from facaded.tls.acme.private_files import StoreError
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.store import AcmeStore
from facaded.tls.acme.stored_order import OrderStage
from tests.tls.acme.memory import CLOSED, ERROR, NAME, AcmeHarness, CreateHarness


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
    harness.start(9 * MINUTE)
    assert len(harness.ca.failed) == 2, "with each kind of challenge"


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
    assert harness.start(25).certificate is None, "repeated restarts must not flood a CA"
    harness.network.pass_time(60)
    assert harness.certificate is not None


def test_restarts_during_authorizations_go_on_with_the_same_order(create: CreateHarness) -> None:
    harness = create()
    harness.ca.stalls = True
    for _ in range(50):
        harness.start(61)
        harness.acme.stopService()
        harness.network.settle()
        assert harness.responder.alpn == {}
        harness.restart()
    assert harness.ca.requests.count("order") == 1
    assert harness.ca.requests.count("challenge") == 1, "the CA is validating already"


def stall_at(harness: AcmeHarness, stage: OrderStage) -> None:
    """Make the CA stall an order at this stage."""
    harness.ca.stalls = stage is OrderStage.VALIDATING
    if stage is OrderStage.FINALIZING:
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
@pytest.mark.parametrize("stage", [OrderStage.VALIDATING, OrderStage.FINALIZING])
def test_interrupted_orders_are_finished(create: CreateHarness, end: str, stage: OrderStage) -> None:
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
    assert harness.certificate is None
    harness.ca.stalls = False
    harness.ca.lies.clear()
    for order in harness.ca._orders.values():  # the CA has finished meanwhile
        order["status"] = "valid" if "certificate" in order else "ready"
    harness.network.pass_time(10 * MINUTE)
    assert harness.certificate is not None
    assert (harness.ca.requests.count("order"), len(harness.ca.issued)) == (1, 1)
    assert not list(harness.directory.rglob("order_*")), "the key is in certificate.pem only"


def fail_while_down(harness: AcmeHarness) -> None:
    """Renew by hand, kill the daemon while the CA validates, which fails, and start and renew again."""
    harness.ca.stalls = True
    harness.acme.renew()
    harness.network.pass_time(2)
    kill(harness)
    harness.ca.stalls = False
    for order in harness.ca._orders.values():
        if order["status"] == "pending":
            order |= {"status": "invalid", "error": {"type": f"{ERROR}unauthorized", "detail": "connection refused"}}
    harness.acme.startService()
    harness.acme.renew()
    harness.network.pass_time(30)


def test_renewals_by_hand_at_a_private_ca_succeed_however_often_it_could_not_validate_a_killed_daemon(
    create: CreateHarness, tmp_path: Path
) -> None:
    harness = create(challenges=(ChallengeKind.TLS_ALPN,)).start()
    assert harness.certificate is not None
    (tmp_path / "root.pem").write_bytes(harness.certificate.chain_pem)
    harness.change_ca(ca_file=tmp_path / "root.pem")
    for count in range(FAILURES_AN_HOUR + 2):
        fail_while_down(harness)
        assert len(harness.ca.issued) == count + 2, f"kill {count + 1}"


def test_a_validation_that_failed_while_the_daemon_was_down_is_explained(create: CreateHarness) -> None:
    harness = create(challenges=(ChallengeKind.TLS_ALPN,)).start()
    harness.ca.refusal = {"type": f"{ERROR}unauthorized", "detail": "connection refused"}
    fail_while_down(harness)
    assert "account" not in harness.error
    assert f"{NAME}: the CA did not get facaded's answer on port 443" in harness.error


def ledger(harness: AcmeHarness, ca: str = "ca") -> CaLedger:
    """Return the stored ledger of a CA."""
    directory = harness.network.cas[ca].settings.directory
    return next(book for book in AcmeStore(harness.directory, print).ledgers() if book.ca == directory)


def test_a_certificate_that_was_due_counts_against_no_limit(create: CreateHarness) -> None:
    assert ledger(create().start()).names == {}


def test_a_failure_at_the_first_ca_counts_although_the_second_issues_a_certificate(create: CreateHarness) -> None:
    harness = create("first", "second")
    harness.network.cas["first"].refusal = CLOSED
    harness.start()
    assert harness.certificate is not None
    assert len(ledger(harness, "first").names[NAME].failed) == 2, "with each kind of challenge"
    assert ledger(harness, "second").names == {}


def test_an_order_of_a_killed_daemon_is_not_repeated_immediately(create: CreateHarness) -> None:
    harness = create()
    harness.ca.hangs = True
    harness.start(1)
    harness.restart()  # without a stop
    assert harness.status["next_renewal"] == pytest.approx(harness.network.now() + 29, abs=2)


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
        assert harness.acme.renew().refusals == ()
        harness.network.pass_time(MINUTE)
    assert len(harness.ca.issued) == 4
    assert harness.acme.renew().refusals == (
        f"{NAME}: the CA's limits allow no attempt before 2027-01-22 08:01 UTC: wait, or renew with --force",
    )
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
