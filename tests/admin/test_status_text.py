"""What a person reads of the status."""

from typing import Any

import pytest

from facaded.admin.status import Status
from facaded.admin.status_text import text
from facaded.net.json_documents import from_object
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


def status(*certificates: dict[str, Any], **more: Any) -> Status:
    """A status as a daemon of the version before gives it."""
    active = {"repositories": [], "for": Purpose.REDIRECT.value, "backend": "main", "since": 0.0, "why": "first"}
    document = {
        "version": "0.1.0",
        "settings": "facaded.toml",
        "warnings": [],
        "active": "main",
        "active_since": 0.0,
        "why": "main is active",
        "pins": {},
        "routes": [active, active | {"for": Purpose.SERVE.value}],
        "handover_until": None,
        "backends": [],
        "stale_names": {},
        "certificates": list(certificates),
    }
    return from_object(document | more, Status)


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
    lines = text(status(GOOD | change)).splitlines()[3:]
    assert [line[: len(expected)] for line, expected in zip(lines, said, strict=True)] == said


def test_the_next_renewal_is_told() -> None:
    assert ", renewed on 2027-01-0" in text(status(GOOD | {"next_renewal": UNTIL - 1e6}))


def test_a_certificate_that_is_missing_or_has_expired_is_bad_news() -> None:
    assert not status(GOOD, GOOD | {"expires_soon": True}).is_bad_news
    assert status(GOOD, GOOD | {"expired": True}).is_bad_news
    assert status(GOOD | {"until": None, "error": "the CA cannot be reached"}).is_bad_news


BACKEND = {
    "name": "main",
    "url": "https://main.test",
    "state": "up",
    "since": UNTIL,
    "last": {},
    "failed": None,
    "drift": None,
    "drained": None,
    "pulls_left": {},
    "limited_until": None,
    "relapses": 0,
    "failback_after": 60.0,
}
UNUSED = dict.fromkeys(BACKEND) | {"name": "spare", "url": "https://spare.test", "pulls_left": {}}


def test_each_backend_has_a_row() -> None:
    failed = {"verdict": "bad", "step": "blob", "reason": "answered 500", "latency": 0.1, "at": UNTIL}
    drained = {"since": UNTIL, "until": None}
    marked = BACKEND | {"failed": failed, "drained": drained, "drift": "no canary"}
    rows = text(status(backends=[marked, UNUSED])).splitlines()[:3]
    assert rows[0].split() == ["BACKEND", "STATE", "SINCE", "LAST", "FAILED", "STEP", "URL"]
    assert rows[1].startswith("main     up, drained, drift  2027-01-")
    assert "  blob: answered 500 (2027-01-" in rows[1]
    assert rows[2].split() == ["spare", "not", "used", "-", "-", "https://spare.test"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"drift": "no canary"}, "main drifts: no canary"),
        ({"drained": {"since": UNTIL, "until": UNTIL}}, "main is drained until 2027-"),
        ({"limited_until": UNTIL}, "main is limited until 2027-"),
        (
            {"relapses": 2, "failback_after": 240.0},
            "main has relapsed 2 times: it takes over again after",
        ),
        (
            {"pulls_left": {"address": {"remaining": 7, "limit": 100, "window": 21600.0, "at": UNTIL}}},
            "main grants this machine's address 7 more pulls of 100 in 6 h",
        ),
        (
            {"pulls_left": {"account": {"remaining": 7, "limit": None, "window": 0.0, "at": UNTIL}}},
            "main grants this machine's account 7 more pulls",
        ),
    ],
)
def test_what_is_particular_of_a_backend_has_a_line(change: dict[str, Any], said: str) -> None:
    assert text(status(backends=[BACKEND | change])).splitlines()[4].startswith(said)


def test_charges_of_routes_and_for_serving_are_told_where_they_differ() -> None:
    named = {
        "repositories": ["org/*"],
        "for": "redirect",
        "backend": "main",
        "since": 0.0,
        "why": "main is the first",
    }
    serving = {"repositories": ["org/*"], "for": "serve", "backend": "second", "since": 0.0, "why": "main limited"}
    lines = text(status(routes=[named, serving])).splitlines()
    assert lines[3:] == ["for org/*: main is the first", "for org/*: for serving, main limited"]


def test_a_time_that_cannot_be_one_ends_nothing() -> None:
    assert "handover until at no known time" in text(status(handover_until=1e300))
