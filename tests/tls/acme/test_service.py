"""The service over CAs in memory: what pebble cannot be made to show."""

import contextlib
import email.utils
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.tls.acme.schedule import DAY, FAILURES_AN_HOUR, HOUR, MINUTE, WEEK, Stage
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.acme.store import AcmeStore, StoreError
from tests.tls.acme.memory import EPOCH, ERROR, NAME, Documented, Serving
from tests.tls.acme.test_schedule import most_within

Begin = Callable[..., Serving]

CLOSED = {"type": f"{ERROR}connection", "detail": "connection refused", "status": 400}


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def begin(tmp_path: Path, log: list[str]) -> Iterator[Begin]:
    """Puts a service together; at the end nothing is shown any more, and no secret is in the log."""
    made: list[Serving] = []

    def start(*names: str, **settings: Any) -> Serving:
        made.append(Serving.begin(tmp_path, *names, **settings))
        return made[-1]

    yield start
    for each in made:
        each.acme.stopService()
        assert (each.shown.http, each.shown.alpn) == ({}, {})
        for path in each.directory.rglob("*.pem*"):
            secrets = path.read_text().split("-----END PRIVATE")[0].splitlines()[1:]
            assert not [line for line in log for secret in secrets if secret in line]
    assert all(line.isprintable() for line in log if "Traceback" not in line)


def problem(status: int, kind: str, **more: Any) -> Documented:
    headers = {"Retry-After": str(more.pop("retry_after"))} if "retry_after" in more else {}
    return status, headers, {"type": ERROR + kind, "detail": "because", **more}


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


# Failures: the old certificate stays, it is said, and tried again on schedule


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
    _mend(serving)
    serving.network.pass_time(wait * 1.2 + 3 * MINUTE)
    assert serving.certificate != old
    assert serving.status["error"] is None


def _mend(serving: Serving) -> None:
    for ca in serving.network.authorities.values():
        ca.down = ca.hangs = ca.invalid = False
        ca.refuse = None
        ca.faults.clear()


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


# Thirty days


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
    _mend(serving)
    serving.network.sleep(8 * DAY if fault in ("never comes", "flapping") else 12 * HOUR)
    assert serving.certificate is not None


# Renewal information


def test_a_certificate_is_renewed_when_its_ca_suggests_it_and_says_what_it_replaces(
    begin: Begin, log: list[str]
) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    old = serving.certificate
    assert old is not None
    assert EPOCH + 10 * DAY <= serving.status["next_renewal"] <= EPOCH + 11.01 * DAY
    assert serving.status["suggested_because"] == "https://example.com/why"
    assert [line for line in log if "https://example.com/why" in line]
    assert "replaces" not in serving.ca.last("order")
    serving.ca.window = (-2 * DAY, -DAY)  # all of a sudden: now
    serving.network.pass_time(7 * HOUR)
    assert serving.certificate == old, "but not at once after the last"
    serving.network.pass_time(2 * DAY)
    assert serving.certificate != old
    assert serving.ca.last("order")["replaces"] == old.identifier


def test_a_ca_that_always_suggests_to_renew_now_is_not_believed_for_ever(begin: Begin) -> None:
    serving = begin()
    serving.ca.window = (-2 * DAY, -DAY)
    serving.start()
    serving.network.sleep(30 * DAY)
    assert most_within(serving.ca.made, WEEK) <= 5


def test_a_ca_is_asked_for_its_window_as_often_as_it_says(begin: Begin) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    before = serving.ca.asked.count("info")
    serving.network.pass_time(DAY)
    assert serving.ca.asked.count("info") - before == 4


@pytest.mark.parametrize("answer", [(500, {}, b""), (200, {}, {}), (200, {}, {"suggestedWindow": {"start": "x"}})])
def test_without_good_renewal_information_a_third_of_the_life_counts(begin: Begin, answer: Documented) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.ca.faults["info"] = answer
    serving.start()
    assert serving.status["next_renewal"] == pytest.approx(EPOCH + 59 * DAY, abs=DAY)


@pytest.mark.parametrize("status", [409, 403, 400])
def test_a_ca_that_does_not_want_to_hear_what_is_replaced_gives_a_certificate_all_the_same(
    begin: Begin, status: int
) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    old = serving.certificate

    serving.ca.replaced = status
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old
    assert "replaces" not in serving.ca.last("order")


# Profiles and accounts


def test_a_profile_is_asked_for(begin: Begin) -> None:
    serving = begin()
    serving.ca.meta = {"profiles": {"classic": "for all", "shortlived": "160 h"}}
    serving.change_ca(profile="shortlived")
    serving.start()
    assert serving.ca.last("order")["profile"] == "shortlived"


@pytest.mark.parametrize(
    ("meta", "said"), [({}, "it has none"), ({"profiles": {"classic": "", "tls\n": ""}}, "it has classic, tls?")]
)
def test_a_profile_that_a_ca_does_not_have_is_said_with_those_it_has(
    begin: Begin, meta: dict[str, Any], said: str
) -> None:
    serving = begin()
    serving.ca.meta = meta
    serving.change_ca(profile="short")
    serving.start()
    assert f"the CA has no profile short, {said}: correct `profile`" in serving.error
    assert "order" not in serving.ca.asked


def test_an_account_that_a_ca_has_forgotten_is_made_anew_and_said(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    old = serving.certificate
    serving.ca.forget_accounts()
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old
    assert [line for line in log if "does not take facaded's account any more: a new one is made" in line]


def test_a_good_account_is_not_thrown_away_for_a_refusal_that_is_about_something_else(begin: Begin) -> None:
    serving = begin()
    serving.ca.faults["order"] = problem(403, "unauthorized")
    serving.start()
    assert serving.error.startswith("the CA does not allow it to facaded's account")
    assert not list(serving.directory.rglob("*.retired-*"))
    assert serving.ca.asked.count("order") == 1


def test_an_account_whose_url_is_lost_is_found_by_its_key(begin: Begin) -> None:
    serving = begin().start()
    key = next(serving.directory.rglob("account.pem")).read_bytes()
    next(serving.directory.rglob("account.json")).unlink()
    serving.acme.renew()
    serving.network.pass_time(30)
    assert len(serving.ca.made) == 2
    assert next(serving.directory.rglob("account.pem")).read_bytes() == key
    assert serving.ca.asked.count("account") == 2


def test_a_key_that_a_ca_does_not_take_any_more_is_replaced(begin: Begin) -> None:
    serving = begin().start()
    next(serving.directory.rglob("account.json")).unlink()
    serving.ca.faults["account"] = problem(403, "unauthorized")
    serving.acme.renew()
    serving.network.pass_time(30)
    assert len(list(serving.directory.rglob("account.pem.retired-*"))) == 1
    assert serving.error.startswith("the CA does not allow it"), "and one attempt is enough"
    assert serving.ca.asked.count("account") == 3


def test_an_account_that_is_gone_when_its_contact_changes_is_made_anew(begin: Begin) -> None:
    serving = begin().start()
    old = serving.certificate
    serving.ca.forget_accounts()
    serving.reconfigure(evolve(serving.settings, email="new@example.com"))
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old


def test_a_ca_that_wants_an_account_of_the_operator_s_says_so_before_it_is_asked(begin: Begin) -> None:
    serving = begin()
    serving.ca.meta = {"externalAccountRequired": True}
    serving.start()
    assert "set eab_key_id and eab_hmac_key_file" in serving.error
    assert "account" not in serving.ca.asked


@pytest.mark.parametrize("text", [None, "nothing"])
def test_trust_roots_that_cannot_be_used_are_said(begin: Begin, tmp_path: Path, text: str | None) -> None:
    serving = begin()
    if text is not None:
        (tmp_path / "root.pem").write_text(text)
    serving.change_ca(ca_file=tmp_path / "root.pem")
    serving.start()
    assert serving.error.startswith(f"ca_file: {tmp_path}/root.pem cannot be used (")


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


@pytest.mark.parametrize(
    ("text", "said"), [(None, "cannot be read"), ("not+base64url!", "base64url"), ("", "base64url")]
)
def test_a_secret_that_cannot_be_used_is_said_without_it(
    begin: Begin, tmp_path: Path, text: str | None, said: str
) -> None:
    serving = begin()
    if text is not None:
        (tmp_path / "eab").write_text(text)
    serving.change_ca(eab_key_id="kid", eab_hmac_key_file=tmp_path / "eab")
    serving.start()
    assert said in serving.error
    assert not text or text not in serving.error


def test_nonces_that_a_ca_has_forgotten_are_asked_anew(begin: Begin) -> None:
    serving = begin()
    forget = serving.ca.forget_nonces
    serving.ca.lies["account"] = lambda _: forget()
    assert serving.start().certificate is not None


def test_a_ca_that_refuses_every_nonce_is_not_asked_for_ever(begin: Begin) -> None:
    serving = begin()
    serving.ca.faults["account"] = problem(400, "badNonce")
    serving.start()
    assert serving.error.startswith("the CA refuses every nonce")
    assert serving.ca.asked.count("account") == 10


# A CA that lies

LONG = "https://ca.test/" + "x" * 3000


@pytest.mark.parametrize(
    ("place", "lie"),
    [
        ("directory", lambda it: it.update(newOrder="http://ca.test/order")),
        ("directory", lambda it: it.update(newAccount="https://user:secret@ca.test/")),
        ("directory", lambda it: it.update(newNonce=LONG)),
        ("directory", lambda it: it.update(newNonce=["https://ca.test/nonce"])),
        ("directory", lambda it: it.update(newNonce="file:///etc/passwd")),
        ("directory", lambda it: it.clear()),
        ("order", lambda it: it.update(authorizations=[])),
        ("order", lambda it: it.update(authorizations=it["authorizations"] * 2)),
        ("order", lambda it: it.update(authorizations=["https://ca.test/authorization/1-0"] * 1000)),
        ("order", lambda it: it.update(authorizations="https://ca.test/")),
        ("order", lambda it: it.update(finalize="https://ca.test/\r\nX: y")),
        ("order", lambda it: it.update(finalize="https://[ca/")),
        ("authorization", lambda it: it.update(identifier={"type": "dns", "value": "victim.example"})),
        ("authorization", lambda it: it.update(identifier={"type": "ip", "value": "127.0.0.1"})),
        ("authorization", lambda it: it.update(identifier=None)),
        ("authorization", lambda it: it.update(wildcard=True)),
        ("authorization", lambda it: it["challenges"][0].update(token="../../etc/passwd")),
        ("authorization", lambda it: it["challenges"][0].update(token="x" * 129)),
        ("authorization", lambda it: it["challenges"][0].update(url="http://127.0.0.1/")),
        ("authorization", lambda it: it.update(challenges={})),
        ("authorization", lambda it: it.update(status=7)),
        ("look", lambda it: it.update(certificate="ftp://ca.test/", status="valid")),
    ],
)
def test_what_cannot_be_right_is_not_done(
    begin: Begin, place: str, lie: Callable[[dict[str, Any]], object], log: list[str]
) -> None:
    serving = begin()
    serving.ca.lies[place] = lie
    serving.start()
    assert serving.certificate is None
    assert "the CA's answer cannot be right" in serving.error
    assert serving.error.isprintable()
    assert serving.status["next_renewal"] - serving.status["error_at"] >= 5 * MINUTE


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, b"\x00\xff"),
        (200, {}, b"[" * 100_000),
        (200, {}, b"x" * (300 << 10)),
        (200, {}, [1]),
        (302, {"Location": "https://elsewhere.test/"}, b""),
    ],
)
def test_what_is_no_answer_is_a_failure(begin: Begin, answer: Documented) -> None:
    serving = begin()
    serving.ca.faults["directory"] = answer
    serving.start()
    assert serving.error != "None"
    assert serving.certificate is None


def test_nothing_that_a_ca_says_brings_control_characters_or_long_texts(begin: Begin) -> None:
    serving = begin()
    said = {"type": f"{ERROR}dns\x1b[2J", "detail": "evil\r\nline\x07" + "x" * 1000, "identifier": {"value": "a\nb"}}
    serving.ca.refuse = {"type": f"{ERROR}compound", "subproblems": [said] * 20}
    serving.start()
    assert serving.error.startswith("a?b: the CA refuses (dns?[2J) (the CA says: evil??line?xxx")
    assert serving.error.isprintable()
    assert len(serving.error) < 1000


def test_subproblems_are_said_each_with_its_name(begin: Begin) -> None:
    domains = (("a.example.com", "b.example.com"),)
    serving = begin(domains=domains)
    parts = [
        {"type": f"{ERROR}caa", "detail": "no", "identifier": {"type": "dns", "value": "a.example.com"}},
        {"type": f"{ERROR}dns", "detail": "NXDOMAIN", "identifier": {"type": "dns", "value": "b.example.com"}},
    ]
    serving.ca.faults["order"] = problem(403, "compound", subproblems=parts)
    serving.start()
    assert "a.example.com: a CAA record forbids this CA" in serving.error
    assert "b.example.com: the CA finds no address: publish an A or AAAA record" in serving.error


def test_a_certificate_for_other_names_or_another_key_is_not_used(begin: Begin) -> None:
    other = begin(domains=(("other.example.com",),)).start()
    chain = next(iter(other.acme.current().values())).chain_pem
    serving = begin()
    for given, said in (
        (chain, "a certificate for another key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be right"),
        (b"", "no chain of certificates"),
        (chain * 11, "no chain of certificates"),
    ):
        serving.ca.faults["certificate"] = 200, {}, given
        serving.acme.startService()
        serving.network.sleep(WEEK)
        assert said in serving.error
        assert serving.certificate is None
        serving.acme.stopService()


def test_a_certificate_that_has_ended_already_is_not_used(begin: Begin) -> None:
    serving = begin()
    serving.ca.life = 0.5
    serving.ca.now = lambda: EPOCH - DAY
    serving.start()
    assert "a certificate that is not valid now: see that this machine's clock is right" in serving.error


def test_a_certificate_for_a_moment_is_not_used_and_does_not_make_orders_follow_one_another(begin: Begin) -> None:
    serving = begin().start()
    old = serving.certificate
    serving.ca.life = 30
    serving.acme.renew()
    serving.network.pass_time(HOUR)
    assert serving.certificate == old
    assert "a certificate for less than an hour" in serving.error
    assert len(serving.ca.made) == 2


# Starts and stops


def test_a_valid_certificate_is_used_at_once_after_a_restart_without_asking_anybody(begin: Begin) -> None:
    serving = begin().start()
    old, asked = serving.certificate, len(serving.ca.asked)
    serving.acme.stopService()
    serving.restart()
    assert serving.certificate == old
    serving.start()
    assert serving.ca.asked[asked:] == ["directory"], "for renewal information"


def test_waits_outlive_a_restart(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    before = serving.status
    serving.acme.stopService()
    serving.restart()
    assert serving.status == before
    serving.start(4 * MINUTE)
    assert len(serving.ca.refused) == 1


def test_an_order_that_a_stop_interrupts_is_begun_anew_at_the_next_start(begin: Begin) -> None:
    serving = begin()
    serving.ca.hangs = True
    serving.start(1)
    stopped = serving.acme.stopService()
    assert stopped is not None
    serving.network.settle()
    assert stopped.called
    assert serving.network.clock.getDelayedCalls() == []
    serving.ca.hangs = False
    serving.restart()
    assert serving.status["error"] is None
    assert serving.start(30).certificate is None, "whoever restarts again and again must not hammer a CA"
    serving.network.pass_time(60)
    assert serving.certificate is not None


def test_restarts_in_the_middle_of_authorizations_stay_within_the_limits(begin: Begin) -> None:
    serving = begin()
    serving.ca.ponders = True
    for _ in range(50):
        serving.start(61)
        serving.acme.stopService()
        serving.network.settle()
        assert serving.shown.alpn == {}
        serving.restart()
    assert serving.ca.asked.count("order") == 5


def stuck(serving: Serving, stage: Stage) -> None:
    """The CA lets an order come to this stage, and not to an end."""
    serving.ca.ponders = stage is Stage.AUTHORIZING
    if stage is Stage.MADE:
        serving.ca.lies["look"] = lambda it: it.update(status="processing") if "certificate" in it else None


def kill(serving: Serving) -> None:
    """A new service on what the old one has left on the disk so far: nothing that it does as it stops is seen."""
    left = serving.directory.with_name(serving.directory.name + "x")
    shutil.copytree(serving.directory, left)
    serving.directory = left
    serving.acme.stopService()
    serving.network.settle()
    serving.restart()


@pytest.mark.parametrize("end", ["stop", "kill", "reload"])
@pytest.mark.parametrize(("stage", "limit"), [(Stage.AUTHORIZING, 5), (Stage.MADE, 3)])
def test_orders_that_are_interrupted_stay_within_the_limits(begin: Begin, end: str, stage: Stage, limit: int) -> None:
    serving = begin()
    stuck(serving, stage)
    serving.start(2)
    for count in range(12):
        match end:
            case "stop":
                serving.acme.stopService()
                serving.network.settle()
                serving.restart()
                serving.acme.startService()
            case "kill":
                kill(serving)
                serving.acme.startService()
            case "reload":
                serving.reconfigure(evolve(serving.settings, email=f"{count}@example.com"))
        serving.network.pass_time(63)
    assert serving.ca.asked.count("challenge" if stage is Stage.AUTHORIZING else "finalize") == limit
    assert serving.status["next_renewal"] > serving.network.now() + 40 * MINUTE


def test_what_was_taken_down_before_an_order_is_taken_back_when_it_ends_well(begin: Begin) -> None:
    serving = begin().start()
    progress = AcmeStore(serving.directory, print).progress([NAME])
    assert (progress.failed, progress.extras) == ({}, {})


def test_what_the_first_ca_has_refused_counts_though_the_second_gives_a_certificate(begin: Begin) -> None:
    serving = begin("first", "second")
    serving.network.authorities["first"].refuse = CLOSED
    serving.start()
    assert serving.certificate is not None
    assert list(AcmeStore(serving.directory, print).progress([NAME]).failed) == ["https://first.test/directory"]


def test_an_order_of_which_a_killed_daemon_has_left_nothing_is_not_begun_at_once(begin: Begin) -> None:
    serving = begin()
    serving.ca.hangs = True
    serving.start(1)
    serving.restart()  # without a stop
    assert serving.status["next_renewal"] == pytest.approx(serving.network.now() + 59, abs=2)


def test_other_settings_are_adopted_and_what_is_still_wanted_is_kept(begin: Begin) -> None:
    serving = begin().start()
    old = serving.certificate
    more = ((NAME,), ("b.example.com",))
    serving.reconfigure(evolve(serving.settings, domains=more))
    assert serving.certificate == old
    serving.network.pass_time(30)
    assert serving.acme.current()[NAME,] == old
    assert serving.acme.current()["b.example.com",].names == ("b.example.com",)


def test_an_operator_who_renews_too_often_is_told_until_when(begin: Begin) -> None:
    serving = begin().start()
    for _ in range(3):
        assert serving.acme.renew() == ()
        serving.network.pass_time(MINUTE)
    assert len(serving.ca.made) == 4
    assert serving.acme.renew() == (f"{NAME}: the CA's limits allow no attempt before 2027-01-22 08:00 UTC",)
    serving.network.pass_time(MINUTE)
    assert len(serving.ca.made) == 4


def test_two_daemons_on_one_directory_share_certificates_and_waits(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    one = serving.acme
    serving.restart()
    serving.start()
    one.renew()
    serving.network.pass_time(2 * MINUTE)
    assert len(serving.ca.made) == 2
    assert serving.certificate == one.current()[NAME,]
    assert [line for line in log if line == f"{NAME}: another daemon has renewed the certificate"]
    serving.network.sleep(70 * DAY)
    assert len(serving.ca.made) == 3
    assert serving.certificate == one.current()[NAME,]
    one.stopService()


def test_two_daemons_whose_operators_renew_again_and_again_stay_within_the_limits_of_one(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    one = serving.acme
    serving.restart()
    serving.start()
    for _ in range(20):
        for acme in (one, serving.acme):
            acme.renew()
            serving.network.pass_time(MINUTE / 2)
    assert len(serving.ca.refused) == FAILURES_AN_HOUR
    one.stopService()


def test_an_order_waits_while_another_daemon_is_at_it(begin: Begin, log: list[str]) -> None:
    serving = begin()
    with AcmeStore(serving.directory, log.append).locked() as alone:
        assert alone
        serving.start()
        assert serving.error == "another daemon with the same state.directory is ordering certificates"
        assert serving.ca.asked == []
    serving.network.pass_time(30)
    assert serving.certificate is not None
    assert serving.status["error"] is None


def test_a_certificate_of_a_ca_that_is_not_wanted_any_more_is_replaced_at_once(begin: Begin) -> None:
    serving = begin("staging", "production")
    staging, production = serving.settings.cas
    serving.reconfigure(evolve(serving.settings, cas=(staging,)))
    serving.start()
    assert serving.status["issuer"] == "staging CA"
    serving.reconfigure(evolve(serving.settings, cas=(production,)))
    assert serving.certificate is not None
    serving.network.pass_time(30)
    assert serving.status["issuer"] == "production CA"


def test_going_back_and_forth_between_cas_stays_within_the_limits(begin: Begin) -> None:
    serving = begin("first", "second").start()
    for count in range(12):
        serving.reconfigure(evolve(serving.settings, cas=(serving.settings.cas[count % 2 - 1],)))
        serving.network.pass_time(70)
    assert [len(ca.made) for ca in serving.network.authorities.values()] == [4, 3], "the first without a limit"


def test_failures_count_for_a_name_in_whatever_entry_it_is(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    for count in range(12):
        serving.reconfigure(evolve(serving.settings, domains=((NAME, f"{count}.example.com"),)))
        serving.network.pass_time(70)
    assert serving.ca.asked.count("order") == FAILURES_AN_HOUR


def test_a_directory_that_cannot_be_written_orders_nothing_and_is_said_once(begin: Begin, log: list[str]) -> None:
    serving = begin()
    serving.directory.parent.joinpath("acme").write_text("not a directory")
    serving.start(5 * MINUTE)
    assert "certificates cannot be kept, so none is ordered" in serving.error
    assert serving.ca.asked == []
    assert sum("cannot be kept" in line for line in log) == 1
    (serving.directory).unlink()
    serving.network.pass_time(2 * MINUTE)
    assert serving.certificate is not None
    assert serving.status["error"] is None


def test_a_certificate_whose_file_cannot_be_read_for_a_while_stays_in_service(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    old = serving.certificate
    place = next(serving.directory.rglob("certificate.pem"))
    text = place.read_bytes()
    place.unlink()
    place.mkdir()  # even root cannot read that
    serving.reconfigure(evolve(serving.settings, email="new@example.com"))
    serving.network.pass_time(5 * MINUTE)
    assert serving.certificate == old
    assert "Is a directory" in serving.error
    assert sum("Is a directory" in line for line in log) == 1
    assert len(serving.ca.made) == 1
    place.rmdir()
    place.write_bytes(text)
    serving.network.pass_time(2 * MINUTE)
    assert (serving.certificate, serving.status["error"]) == (old, None)


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    """A file cannot be written in this place: not even root can write where a directory is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f"{place.name}.new")
    new.mkdir()
    yield
    new.rmdir()


def test_a_certificate_that_cannot_be_written_is_in_service_and_written_as_soon_as_there_is_room(
    begin: Begin, log: list[str]
) -> None:
    serving = begin()
    place = serving.directory / "certificates" / NAME / "certificate.pem"
    with full(place):
        serving.start(5 * MINUTE)
        first = serving.certificate
        assert first is not None
        assert "cannot be kept" in serving.error
        serving.reconfigure(evolve(serving.settings, email="new@example.com"))
        assert serving.certificate == first, "a reload does not lose it"
        serving.network.pass_time(HOUR)
        assert len(serving.ca.made) == 1
        assert sum("cannot be kept" in line for line in log) == 1
    serving.network.pass_time(2 * MINUTE)
    assert AcmeStore(serving.directory, print).certificate([NAME]) == first
    assert AcmeStore(serving.directory, print).progress([NAME]).ca == serving.ca.ca.directory
    assert serving.status["error"] is None


def test_a_failure_that_cannot_be_written_is_not_forgotten(begin: Begin) -> None:
    serving = begin()
    place = serving.directory / "certificates" / NAME / "progress.json"
    serving.ca.refuse = CLOSED
    room = contextlib.ExitStack()
    serving.ca.lies["challenge"] = lambda _: room.enter_context(full(place))  # from when the order is under way
    serving.start(10 * MINUTE)
    assert (serving.status["attempts"], len(serving.ca.refused)) == (1, 1)
    room.close()
    serving.ca.lies.clear()
    serving.network.pass_time(2 * MINUTE)
    assert AcmeStore(serving.directory, print).progress([NAME]).slow >= 1


def test_a_daemon_cannot_begin_over_a_directory_that_is_none(begin: Begin, tmp_path: Path) -> None:
    tmp_path.joinpath("acme").write_text("")
    with pytest.raises(StoreError, match="cannot be kept"):
        begin()


def test_the_status_is_json(begin: Begin) -> None:
    assert json.loads(json.dumps(begin().start().status))["names"] == [NAME]
