"""A CA that lies, or answers what is no answer."""

from collections.abc import Callable
from typing import Any

import pytest

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK
from tests.tls.acme.memory import EPOCH, ERROR, Begin, Documented, problem

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
