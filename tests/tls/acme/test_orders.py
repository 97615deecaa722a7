"""The client over CAs in memory: what pebble cannot be made to show.

What orders come to, and when failed ones are tried again: the old certificate stays meanwhile.
"""

import email.utils

import pytest
from attrs import evolve
from twisted.logger import LogEvent

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK
from facaded.tls.acme.settings import ChallengeKind
from tests.tls.acme.memory import CLOSED, EPOCH, ERROR, NAME, Begin, Documented, mend, problem
from tests.tls.acme.test_schedule import most_within


def test_a_certificate_is_got_and_said(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    assert serving.certificate is not None
    assert serving.certificate.names == (NAME,)
    assert len(serving.changes) == 1
    status = serving.status
    assert (status["issuer"], status["error"], status["attempts"]) == ("ca CA", None, 0)
    assert status["not_after"] == pytest.approx(EPOCH + 90 * DAY, abs=60)
    assert status["next_renewal"] == pytest.approx(EPOCH + 59 * DAY, abs=DAY)
    assert [line for line in log if line.startswith(f"{NAME}: a certificate of ca CA until 2027-04-15")]


def test_a_contact_is_told_and_told_again_when_it_changes(begin: Begin) -> None:
    serving = begin(email="ops@example.com").start()
    assert serving.ca.last("account")["contact"] == ["mailto:ops@example.com"]
    assert serving.ca.last("account")["termsOfServiceAgreed"] is True
    serving.reconfigure(evolve(serving.settings, email="new@example.com"))
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.ca.last("account") == {"contact": ["mailto:new@example.com"]}


def test_renewals_go_on_for_a_year(begin: Begin) -> None:
    serving = begin().start()
    serving.network.sleep(365 * DAY)
    assert len(serving.ca.made) == 7
    assert serving.certificate is not None
    assert serving.certificate.life.ends > serving.network.now() + 29 * DAY


@pytest.mark.parametrize(
    ("fault", "said", "wait"),
    [
        ("down", "connection refused", MINUTE),
        ("503", "it answered 503", MINUTE),
        ("503 later", "it answered 503", 2 * HOUR),
        ("rate limit", "a limit of the CA is reached", 3 * HOUR),
        ("rate limit until", "a limit of the CA is reached", 3 * HOUR),
        ("refused", f"{NAME}: the CA gives no certificate for this name", 5 * MINUTE),
        ("closed", f"{NAME}: the CA could not reach port 443: open it, or use http-01", 5 * MINUTE),
        ("mind", "made the order invalid", 5 * MINUTE),
        ("never comes", "it answered 500", 5 * MINUTE),
        ("hangs", "time-out", MINUTE),
    ],
)
def test_a_failed_renewal_leaves_the_old_certificate_is_said_and_tried_again_on_schedule(
    begin: Begin, fault: str, said: str, wait: float, log: list[str]
) -> None:
    serving = begin().start()
    old = serving.certificate
    ca, now = serving.ca, serving.network.now
    serving.network.sleep(57 * DAY)
    match fault:
        case "down":
            ca.down = True
        case "hangs":
            ca.hangs = True
        case "closed":
            ca.refuse = CLOSED
        case "mind":
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
        case "never comes":
            ca.faults["certificate"] = 500, {}, b""
    while serving.status["error"] is None:
        if fault == "rate limit until":
            date = email.utils.formatdate(now() + MINUTE + 3 * HOUR, usegmt=True)
            ca.faults["order"] = problem(429, "rateLimited", retry_after=date)
        serving.network.pass_time(MINUTE)
        assert now() < EPOCH + 61 * DAY
    serving.network.pass_time(0)
    status = serving.status
    assert serving.certificate == old
    assert said in status["error"]
    assert status["attempts"] >= 1
    assert 0 < status["next_renewal"] - status["error_at"] <= wait * 1.11 + 65
    assert status["next_renewal"] - status["error_at"] >= wait - 65
    assert [line for line in log if said in line and "tried again 20" in line]
    mend(serving)
    serving.network.pass_time(wait * 1.2 + 3 * MINUTE)
    assert serving.certificate != old
    assert serving.status["error"] is None


def test_a_challenge_of_one_kind_is_tried_at_a_time_and_they_alternate(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start(DAY / 2)
    kinds = serving.shown.history
    assert kinds[:4] == ["tls-alpn-01", "http-01", "tls-alpn-01", "http-01"]
    assert len(kinds) == len(serving.ca.refused)


def test_the_kind_that_has_worked_is_the_first_at_the_renewal(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    serving.ca.refuse = None
    serving.network.pass_time(HOUR)
    serving.network.sleep(61 * DAY)
    assert serving.shown.history == ["tls-alpn-01", "http-01", "http-01"]


def test_the_kind_that_a_ca_offers_is_taken_whose_ever_turn_it_is(begin: Begin) -> None:
    serving = begin()
    serving.ca.kinds = ("http-01",)
    assert serving.start().certificate is not None
    assert serving.shown.history == ["http-01"]


def test_a_ca_that_offers_no_kind_that_may_be_used_is_said(begin: Begin) -> None:
    serving = begin(challenges=(ChallengeKind.TLS_ALPN,))
    serving.ca.kinds = ("dns-01",)
    serving.start()
    assert serving.error == f"{NAME}: the CA offers no challenge of tls-alpn-01: add another to tls.acme.challenges"


@pytest.mark.parametrize("fault", ["down", "closed", "rate limit"])
def test_the_next_ca_is_asked_when_the_first_has_failed(begin: Begin, fault: str) -> None:
    serving = begin("first", "second")
    first = serving.network.authorities["first"]
    first.down = fault == "down"
    first.refuse = CLOSED if fault == "closed" else None
    if fault == "rate limit":
        first.faults["order"] = problem(429, "rateLimited")
    serving.start()
    assert serving.status["issuer"] == "second CA"
    assert serving.status["ca"] == "https://second.test/directory"


def test_where_all_cas_fail_each_is_named(begin: Begin) -> None:
    serving = begin("first", "second")
    for ca in serving.network.authorities.values():
        ca.refuse = CLOSED
    serving.start()
    assert serving.error.startswith(f"first.test: {NAME}: the CA could not reach port 443")
    assert f"; second.test: {NAME}: the CA could not reach" in serving.error


def test_a_ca_under_a_rate_limit_is_not_asked_while_the_next_one_is(begin: Begin) -> None:
    serving = begin("first", "second")
    first, second = serving.network.authorities.values()
    first.faults["order"] = problem(429, "rateLimited", retry_after=4 * 3600)
    second.refuse = CLOSED
    serving.start(3 * HOUR)
    assert first.asked.count("order") == 1
    assert second.asked.count("order") >= 5
    serving.network.pass_time(2 * HOUR)
    assert first.asked.count("order") == 2


def test_an_authorization_that_never_ends_is_given_up_and_counts_as_a_failed_one(begin: Begin) -> None:
    serving = begin()
    serving.ca.ponders = True
    serving.start(299)
    assert serving.status["error"] is None
    serving.network.pass_time(2)
    assert serving.status["error"] is not None
    assert 50 < serving.ca.asked.count("authorization") < 70
    assert serving.status["next_renewal"] - serving.status["error_at"] >= 5 * MINUTE
    serving.network.pass_time(HOUR)
    assert serving.shown.history[:2] == ["tls-alpn-01", "http-01"]


def test_a_ca_that_is_ill_for_a_moment_does_not_cost_an_authorization(begin: Begin) -> None:
    serving = begin()
    serving.ca.ponders = True
    serving.start(5)
    serving.ca.ponders = False
    serving.ca._orders["1"]["status"] = "ready"
    serving.ca.faults["authorization"] = 503, {}, b""
    serving.network.pass_time(10)
    assert serving.status["error"] is None
    serving.ca.faults.clear()
    serving.network.pass_time(30)
    assert serving.certificate is not None


def test_a_ca_that_does_not_say_why_is_quoted_with_that(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.ca.lies["authorization"] = lambda it: [each.pop("error", None) for each in it["challenges"]]
    serving.start()
    assert serving.error == f"{NAME}: the CA does not believe that the name leads here, and does not say why"


def test_an_error_of_our_own_is_tried_again_as_seldom_as_any_other(
    begin: Begin, no_errors_are_logged: list[LogEvent]
) -> None:
    serving = begin()
    serving.shown.broken = True
    serving.start(4 * MINUTE)
    assert serving.error == "an error of facaded's own: see its log, and report it"
    assert serving.ca.asked.count("order") == 1
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


@pytest.mark.parametrize("fault", ["closed", "never comes", "down", "flapping"])
def test_a_ca_that_fails_for_thirty_days_sees_no_more_than_its_limits_allow(begin: Begin, fault: str) -> None:
    serving = begin()
    ca = serving.ca
    ca.refuse = CLOSED if fault == "closed" else None
    ca.down = fault == "down"
    if fault == "never comes":
        ca.faults["certificate"] = 404, {}, b""
    serving.start()
    for hour in range(30 * 24):
        if fault == "flapping":
            ca.refuse, ca.down = (CLOSED, False) if hour % 3 else (None, hour % 2 == 0)
            ca.faults.update({"certificate": (500, {}, b"")}) if hour % 7 else ca.faults.clear()
            serving.acme.renew()  # and an operator without patience
        if hour % 24 == 5:
            serving.acme.stopService()
            serving.restart()
            serving.acme.startService()
        serving.network.pass_time(HOUR)
    assert most_within(ca.refused, HOUR) <= 5
    assert most_within(ca.made, WEEK) <= 5
    if fault != "never comes":
        assert 100 < serving.network.requests < 5000, "it is tried for all this time"
    mend(serving)
    serving.network.sleep(8 * DAY if fault in ("never comes", "flapping") else 12 * HOUR)
    assert serving.certificate is not None


@pytest.mark.parametrize(
    ("place", "answer", "said"),
    [
        ("finalize", problem(403, "badCSR"), "the CA refuses the request's key or names"),
        ("look", (200, {}, {"status": "invalid", "error": {"type": f"{ERROR}caa"}}), "a CAA record forbids this CA"),
        ("look", (200, {}, {"status": "valid"}), "cannot be right"),
    ],
)
def test_a_certificate_that_was_not_made_does_not_count_as_one(
    begin: Begin, place: str, answer: Documented, said: str
) -> None:
    serving = begin()
    if isinstance(answer[2], dict) and "status" in answer[2] and place == "look":
        rest = {"authorizations": ["https://ca.test/authorization/1-0"], "finalize": "https://ca.test/finalize/1"}
        answer = (*answer[:2], {**rest, **answer[2]})
    serving.ca.faults[place] = answer
    serving.start(6 * HOUR)
    assert said in serving.error
    assert serving.ca.asked.count("order") >= 6, "three would be the limit of certificates that never came"


def test_an_authorization_that_is_no_good_from_the_beginning_is_said(begin: Begin) -> None:
    serving = begin()
    serving.ca.lies["authorization"] = lambda it: it.update(status="deactivated")
    serving.start()
    assert "the CA does not believe that the name leads here" in serving.error
    assert "challenge" not in serving.ca.asked
