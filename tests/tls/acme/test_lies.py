"""A CA that sends wrong or invalid responses."""

from collections.abc import Callable
from typing import Any

import pytest

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK
from tests.tls.acme.memory import EPOCH, ERROR, CreateHarness, Documented, problem

LONG = "https://ca.test/" + "x" * 3000


@pytest.mark.parametrize(
    ("kind", "lie"),
    [
        ("directory", lambda document: document.update(newOrder="http://ca.test/order")),
        ("directory", lambda document: document.update(newAccount="https://user:secret@ca.test/")),
        ("directory", lambda document: document.update(newNonce=LONG)),
        ("directory", lambda document: document.update(newNonce=["https://ca.test/nonce"])),
        ("directory", lambda document: document.update(newNonce="file:///etc/passwd")),
        ("directory", lambda document: document.clear()),
        ("order", lambda document: document.update(authorizations=[])),
        ("order", lambda document: document.update(authorizations=document["authorizations"] * 2)),
        ("order", lambda document: document.update(authorizations=["https://ca.test/authorization/1-0"] * 1000)),
        ("order", lambda document: document.update(authorizations="https://ca.test/")),
        ("order", lambda document: document.update(finalize="https://ca.test/\r\nX: y")),
        ("order", lambda document: document.update(finalize="https://[ca/")),
        ("authorization", lambda document: document.update(identifier={"type": "dns", "value": "victim.example"})),
        ("authorization", lambda document: document.update(identifier={"type": "ip", "value": "127.0.0.1"})),
        ("authorization", lambda document: document.update(identifier=None)),
        ("authorization", lambda document: document.update(wildcard=True)),
        ("authorization", lambda document: document["challenges"][0].update(token="../../etc/passwd")),
        ("authorization", lambda document: document["challenges"][0].update(token="x" * 129)),
        ("authorization", lambda document: document["challenges"][0].update(url="http://127.0.0.1/")),
        ("authorization", lambda document: document.update(challenges={})),
        ("authorization", lambda document: document.update(status=7)),
        ("look", lambda document: document.update(certificate="ftp://ca.test/", status="valid")),
    ],
)
def test_an_invalid_document_ends_the_order(
    create: CreateHarness, kind: str, lie: Callable[[dict[str, Any]], object], log: list[str]
) -> None:
    harness = create()
    harness.ca.lies[kind] = lie
    harness.start()
    assert harness.certificate is None
    assert "the CA sent an invalid response" in harness.error
    assert harness.error.isprintable()
    assert harness.status["next_renewal"] - harness.status["error_at"] >= 5 * MINUTE


@pytest.mark.parametrize(
    "response",
    [
        (200, {}, b"\x00\xff"),
        (200, {}, b"[" * 100_000),
        (200, {}, b"x" * (300 << 10)),
        (200, {}, [1]),
        (302, {"Location": "https://elsewhere.test/"}, b""),
    ],
)
def test_an_invalid_response_is_a_failure(create: CreateHarness, response: Documented) -> None:
    harness = create()
    harness.ca.faults["directory"] = response
    harness.start()
    assert harness.error != "None"
    assert harness.certificate is None


def test_error_texts_of_a_ca_are_made_printable_and_shortened(create: CreateHarness) -> None:
    harness = create()
    subproblem = {
        "type": f"{ERROR}dns\x1b[2J",
        "detail": "evil\r\nline\x07" + "x" * 1000,
        "identifier": {"value": "a\nb"},
    }
    harness.ca.refusal = {"type": f"{ERROR}compound", "subproblems": [subproblem] * 20}
    harness.start()
    assert harness.error.startswith("a?b: the CA refuses the request (dns?[2J) (the CA says: evil??line?xxx")
    assert harness.error.isprintable()
    assert len(harness.error) < 2500


def test_each_subproblem_is_reported_with_its_name(create: CreateHarness) -> None:
    domains = (("a.example.com", "b.example.com"),)
    harness = create(domains=domains)
    parts = [
        {"type": f"{ERROR}caa", "detail": "no", "identifier": {"type": "dns", "value": "a.example.com"}},
        {"type": f"{ERROR}dns", "detail": "NXDOMAIN", "identifier": {"type": "dns", "value": "b.example.com"}},
    ]
    harness.ca.faults["order"] = problem(403, "compound", subproblems=parts)
    harness.start()
    assert "a.example.com: a CAA record forbids this CA" in harness.error
    assert "b.example.com: the CA found no address: publish an A or AAAA record" in harness.error


def test_a_certificate_for_other_names_or_another_key_is_not_used(create: CreateHarness) -> None:
    other = create(domains=(("other.example.com",),)).start()
    chain = next(iter(other.acme.current().values())).chain_pem
    harness = create()
    for response, message in (
        (chain, "a certificate for another key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "invalid response"),
        (b"", "no certificate chain"),
        (chain * 11, "no certificate chain"),
    ):
        harness.ca.faults["certificate"] = 200, {}, response
        harness.acme.startService()
        harness.network.sleep(WEEK)
        assert message in harness.error
        assert harness.certificate is None
        harness.acme.stopService()


def test_a_certificate_that_has_already_expired_is_not_used(create: CreateHarness) -> None:
    harness = create()
    harness.ca.validity = 0.5
    harness.ca.now = lambda: EPOCH - DAY
    harness.start()
    assert "a certificate that is not valid now (check this machine's clock)" in harness.error


def test_a_short_lived_certificate_is_not_used_and_causes_no_flood_of_orders(
    create: CreateHarness,
) -> None:
    harness = create().start()
    old = harness.certificate
    harness.ca.validity = 30
    harness.acme.renew()
    harness.network.pass_time(HOUR)
    assert harness.certificate == old
    assert "valid for less than an hour" in harness.error
    assert len(harness.ca.issued) == 2
