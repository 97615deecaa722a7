"""What status says of certificates."""

from typing import Any

import pytest

from facaded.admin import status
from facaded.policy.health import Purpose

UNTIL = 1_800_000_000.0
GOOD = {
    "names": ["a.test", "b.test"],
    "issuer": "Lab CA",
    "until": UNTIL,
    "expired": False,
    "expires_soon": False,
    "from": "/etc/facaded/tls/fullchain.pem",
    "next_renewal": None,
    "error": None,
}


def document(*certificates: dict[str, Any]) -> dict[str, Any]:
    charge = {"repositories": [], "for": Purpose.REDIRECT.value, "backend": "main", "why": "it is the first"}
    return {
        "why": "main is in charge",
        "charges": [charge, charge | {"for": Purpose.SERVE.value}],
        "handover_until": None,
        "backends": [],
        "warnings": [],
        "stale_names": {},
        "certificates": list(certificates),
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ["certificate for a.test, b.test: by Lab CA, until 2027-"]),
        ({"next_renewal": UNTIL - 1e6}, ["certificate for a.test, b.test: by Lab CA, until 2027-"]),
        ({"expires_soon": True}, ["certificate for", "the certificate for a.test, b.test expires soon, on 2027-"]),
        (
            {"expired": True, "expires_soon": True},
            ["certificate for", "the certificate for a.test, b.test HAS EXPIRED"],
        ),
        ({"error": "no key"}, ["certificate for", "the certificate for a.test, b.test is not replaced: no key"]),
        (
            {"until": None, "error": "no key"},
            ["no certificate for a.test, b.test from /etc/facaded/tls/fullchain.pem: no"],
        ),
        (
            {"until": None, "names": [], "error": "no key"},
            ["no certificate from /etc/facaded/tls/fullchain.pem: no key"],
        ),
    ],
)
def test_each_certificate_has_its_lines(change: dict[str, Any], said: list[str]) -> None:
    lines = status.table(document(GOOD | change)).splitlines()[3:]
    assert [line[: len(expected)] for line, expected in zip(lines, said, strict=True)] == said


def test_the_next_renewal_is_told() -> None:
    assert ", renewed on 2027-01-0" in status.table(document(GOOD | {"next_renewal": UNTIL - 1e6}))


def test_a_certificate_that_is_missing_or_has_expired_is_bad_news() -> None:
    assert not status.is_bad_news(document(GOOD, GOOD | {"expires_soon": True}))
    assert status.is_bad_news(document(GOOD, GOOD | {"expired": True}))
    assert status.is_bad_news(document(GOOD | {"until": None, "error": "the CA cannot be reached"}))
