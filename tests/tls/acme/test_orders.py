"""The client with CAs in memory, for behaviour that pebble cannot simulate.

The outcome of orders, and when failed ones are retried while the old certificate stays in service.
"""

import email.utils

import pytest
from attrs import evolve
from twisted.logger import LogEvent

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE
from facaded.tls.acme.settings import ChallengeKind
from tests.tls.acme.memory import CLOSED, EPOCH, ERROR, NAME, CreateHarness, Documented, problem, repair


def test_a_certificate_is_obtained_and_logged(create: CreateHarness, log: list[str]) -> None:
    harness = create().start()
    assert harness.certificate is not None
    assert harness.certificate.names == (NAME,)
    assert len(harness.changes) == 1
    status = harness.status
    assert (status["issuer"], status["error"], status["attempts"]) == ("ca CA", None, 0)
    assert status["not_after"] == pytest.approx(EPOCH + 90 * DAY, abs=60)
    assert status["next_renewal"] == pytest.approx(EPOCH + 59 * DAY, abs=DAY)
    assert [line for line in log if line.startswith(f"{NAME}: obtained a certificate from ca CA, expires 2027-04-15")]


def test_the_contact_is_sent_and_sent_again_when_it_changes(create: CreateHarness) -> None:
    harness = create(email="ops@example.com").start()
    assert harness.ca.last("account")["contact"] == ["mailto:ops@example.com"]
    assert harness.ca.last("account")["termsOfServiceAgreed"] is True
    harness.reconfigure(evolve(harness.settings, email="new@example.com"))
    harness.acme.renew()
    harness.network.pass_time(30)
    assert harness.ca.last("account") == {"contact": ["mailto:new@example.com"]}


def test_renewals_continue_for_a_year(create: CreateHarness) -> None:
    harness = create().start()
    harness.network.sleep(365 * DAY)
    assert len(harness.ca.issued) == 7
    assert harness.certificate is not None
    assert harness.certificate.validity.end > harness.network.now() + 29 * DAY


@pytest.mark.parametrize(
    ("fault", "message", "wait"),
    [
        ("down", "connection refused", MINUTE),
        ("503", "HTTP status 503", MINUTE),
        ("503 later", "HTTP status 503", 2 * HOUR),
        ("rate limit", "rate-limited by the CA", 3 * HOUR),
        ("rate limit until", "rate-limited by the CA", 3 * HOUR),
        ("refused", f"{NAME}: the CA does not issue certificates for this name", 10 * MINUTE),
        ("closed", f"{NAME}: the CA could not reach port 443: open it, or use http-01", 10 * MINUTE),
        ("invalid", "set the order to invalid", 10 * MINUTE),
        ("download fails", "HTTP status 500", MINUTE),
        ("hangs", "timeout", MINUTE),
    ],
)
def test_a_failed_renewal_keeps_the_old_certificate_is_logged_and_retried_on_schedule(
    create: CreateHarness, fault: str, message: str, wait: float, log: list[str]
) -> None:
    harness = create().start()
    old = harness.certificate
    ca, now = harness.ca, harness.network.now
    harness.network.sleep(harness.status["next_renewal"] - now() - 6 * HOUR)
    match fault:
        case "down":
            ca.down = True
        case "hangs":
            ca.hangs = True
        case "closed":
            ca.refusal = CLOSED
        case "invalid":
            ca.invalid = True
        case "503":
            ca.faults["directory"] = 503, {}, b"<html>"
        case "503 later":
            ca.faults["directory"] = 503, {"Retry-After": "7200"}, b""
        case "rate limit":
            ca.faults["order"] = problem(429, "rateLimited", retry_after=3 * 3600)
        case "rate limit until":
            ca.faults["order"] = problem(429, "rateLimited")
        case "refused":
            ca.faults["order"] = problem(403, "rejectedIdentifier", identifier={"type": "dns", "value": NAME})
        case "download fails":
            ca.faults["certificate"] = 500, {}, b""
    while harness.status["error"] is None:
        if fault == "rate limit until":
            date = email.utils.formatdate(now() + MINUTE + 3 * HOUR, usegmt=True)
            ca.faults["order"] = problem(429, "rateLimited", retry_after=date)
        harness.network.pass_time(MINUTE)
        assert now() < EPOCH + 61 * DAY
    harness.network.pass_time(0)
    status = harness.status
    assert harness.certificate == old
    assert message in status["error"]
    assert status["attempts"] >= 1
    assert 0 < status["next_renewal"] - status["error_at"] <= wait * 1.11 + 65
    assert status["next_renewal"] - status["error_at"] >= wait - 65
    assert [line for line in log if message in line and "next attempt 20" in line]
    repair(harness)
    harness.network.pass_time(wait * 1.2 + 3 * MINUTE)
    assert harness.certificate != old
    assert harness.status["error"] is None


def test_the_kinds_of_challenge_alternate(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start(DAY / 2)
    kinds = harness.responder.history
    assert kinds[:6] == ["tls-alpn-01", "http-01"] * 3
    assert len(kinds) == len(harness.ca.failed)


def test_the_kind_of_challenge_that_worked_comes_first_at_the_renewal(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal, harness.ca.refused_kinds = CLOSED, ("tls-alpn-01",)
    assert harness.start().certificate is not None, "the other kind is tried at once"
    harness.network.sleep(61 * DAY)
    assert harness.responder.history == ["tls-alpn-01", "http-01", "http-01"]


def test_the_only_kind_of_challenge_that_a_ca_offers_is_used(create: CreateHarness) -> None:
    harness = create()
    harness.ca.kinds = ("http-01",)
    assert harness.start().certificate is not None
    assert harness.responder.history == ["http-01"]


def test_a_ca_without_a_usable_kind_of_challenge_is_reported(create: CreateHarness) -> None:
    harness = create(challenges=(ChallengeKind.TLS_ALPN,))
    harness.ca.kinds = ("dns-01",)
    harness.start()
    assert harness.error == f"{NAME}: the CA does not offer tls-alpn-01: add another kind to tls.acme.challenges"


@pytest.mark.parametrize("fault", ["down", "closed", "rate limit"])
def test_the_second_ca_is_used_when_the_first_has_failed(create: CreateHarness, fault: str) -> None:
    harness = create("first", "second")
    first = harness.network.cas["first"]
    first.down = fault == "down"
    first.refusal = CLOSED if fault == "closed" else None
    if fault == "rate limit":
        first.faults["order"] = problem(429, "rateLimited")
    harness.start()
    assert harness.status["issuer"] == "second CA"
    assert harness.status["ca"] == "https://second.test/directory"


def test_the_error_names_each_ca_if_all_fail(create: CreateHarness) -> None:
    harness = create("first", "second")
    for ca in harness.network.cas.values():
        ca.refusal = CLOSED
    harness.start()
    assert harness.error.startswith(f"first.test: {NAME}: the CA could not reach port 443")
    assert f"; second.test: {NAME}: the CA could not reach" in harness.error


def test_a_rate_limited_ca_is_skipped_while_the_next_one_is_used(create: CreateHarness) -> None:
    harness = create("first", "second")
    first, second = harness.network.cas.values()
    first.faults["order"] = problem(429, "rateLimited", retry_after=4 * 3600)
    second.refusal = CLOSED
    harness.start(3 * HOUR)
    assert first.requests.count("order") == 1
    assert second.requests.count("order") >= 5
    harness.network.pass_time(2 * HOUR)
    assert first.requests.count("order") == 2


def test_an_authorization_that_stays_pending_times_out_and_counts_as_failed(create: CreateHarness) -> None:
    harness = create()
    harness.ca.stalls = True
    harness.start(299)
    assert harness.status["error"] is None
    harness.network.pass_time(2)
    assert harness.status["error"] is not None
    assert 50 < harness.ca.requests.count("authorization") < 70
    assert harness.status["next_renewal"] - harness.status["error_at"] >= 10 * MINUTE
    harness.network.pass_time(HOUR)
    assert harness.responder.history[:2] == ["tls-alpn-01", "http-01"]


def test_a_brief_outage_of_a_ca_does_not_fail_an_authorization(create: CreateHarness) -> None:
    harness = create()
    harness.ca.stalls = True
    harness.start(5)
    harness.ca.stalls = False
    harness.ca._orders["1"]["status"] = "ready"
    harness.ca.faults["authorization"] = 503, {}, b""
    harness.network.pass_time(10)
    assert harness.status["error"] is None
    harness.ca.faults.clear()
    harness.network.pass_time(30)
    assert harness.certificate is not None


def test_an_authorization_refused_without_a_reason_is_reported(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.ca.lies["authorization"] = lambda document: [
        challenge.pop("error", None) for challenge in document["challenges"]
    ]
    harness.start()
    assert harness.error == (
        f"{NAME}: the CA did not validate the name and gave no reason: check that the name points to facaded"
    )


def test_an_internal_error_is_retried_as_rarely_as_any_other(
    create: CreateHarness, no_errors_are_logged: list[LogEvent]
) -> None:
    harness = create()
    harness.responder.broken = True
    harness.start(9 * MINUTE)
    assert harness.error == "internal error in facaded: see its log, and report it"
    assert harness.ca.requests.count("order") == 1
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


@pytest.mark.parametrize(
    ("kind", "response", "message"),
    [
        ("finalize", problem(403, "badCSR"), "the CA refuses the key or the names of the request"),
        ("look", (200, {}, {"status": "invalid", "error": {"type": f"{ERROR}caa"}}), "a CAA record forbids this CA"),
        ("look", (200, {}, {"status": "valid"}), "invalid response"),
    ],
)
def test_a_refused_issuance_does_not_count_as_a_certificate(
    create: CreateHarness, kind: str, response: Documented, message: str
) -> None:
    harness = create()
    if isinstance(response[2], dict) and "status" in response[2] and kind == "look":
        order = {"authorizations": ["https://ca.test/authorization/1-0"], "finalize": "https://ca.test/finalize/1"}
        response = (*response[:2], {**order, **response[2]})
    harness.ca.faults[kind] = response
    harness.start(6 * HOUR)
    assert message in harness.error
    assert harness.ca.requests.count("order") >= 6, "the limit for certificates that were not received would be three"


def test_an_authorization_that_is_deactivated_from_the_start_is_reported(create: CreateHarness) -> None:
    harness = create()
    harness.ca.lies["authorization"] = lambda document: document.update(status="deactivated")
    harness.start()
    assert "the CA did not validate the name" in harness.error
    assert "challenge" not in harness.ca.requests
