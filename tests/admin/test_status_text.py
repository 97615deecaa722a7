"""What a person reads of the status document."""

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.admin.status import Status
from facaded.admin.status_text import WIDTH, text
from facaded.net.json_documents import from_object
from facaded.policy.health import Purpose

AT = 1_800_000_000.0
AS_TEXT = "2027-01-15 08:00 UTC"
HOUR = 3600.0


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make UTC the local time zone."""
    zone = os.environ.get("TZ")
    set_zone(monkeypatch, "UTC")
    yield
    monkeypatch.undo()
    assert os.environ.get("TZ") == zone
    time.tzset()


def set_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()


PASSED = {"verdict": "good", "step": "blob", "reason": "blob found", "latency": 0.1}
FAILURE = {"verdict": "bad", "step": "blob", "reason": "answered 500", "latency": 0.1}
LIMITED = {"verdict": "limited", "step": "manifest", "reason": "rate-limited (429), retry in 30 s", "latency": 0.1}
BACKEND = {
    "name": "docker-hub",
    "url": "https://registry-1.docker.io",
    "state": "up",
    "since": AT,
    "last": PASSED,
    "failed": None,
    "drift": None,
    "drained": None,
    "pulls_left": {},
    "limited_until": None,
    "relapses": 0,
    "failback_after": 60.0,
}
DOWN = BACKEND | {"state": "down", "last": FAILURE, "failed": FAILURE | {"at": AT}}
GHCR = BACKEND | {"name": "ghcr", "url": "https://ghcr.io"}
UNUSED = dict.fromkeys(BACKEND) | {"name": "spare", "url": "https://spare.test", "pulls_left": {}}
CERTIFICATE = {
    "names": ["a.test", "b.test"],
    "issuer": "Lab CA",
    "until": AT,
    "expired": False,
    "expires_soon": False,
    "from": "/etc/chain.pem",
    "next_renewal": None,
    "error": None,
}
MISSING = CERTIFICATE | {"issuer": None, "until": None, "from": "ACME", "error": "connection refused"}
SELF_SIGNED = CERTIFICATE | {"issuer": "facaded", "from": "self-signed"}
IN_USE = f"a.test, b.test: certificate expires {AS_TEXT} (by Lab CA, from /etc/chain.pem)"


def status(**changes: Any) -> Status:
    """Return a status as a daemon of the previous version sends it."""
    active = {"repositories": [], "for": Purpose.REDIRECT.value, "backend": "docker-hub", "since": AT, "why": "first"}
    document = {
        "version": "0.1.0",
        "settings": "facaded.toml",
        "warnings": [],
        "active": "docker-hub",
        "active_since": AT,
        "why": "docker-hub is active: it is the preferred backend and is up",
        "pins": {},
        "routes": [active, active | {"for": Purpose.SERVE.value}],
        "handover_until": None,
        "backends": [BACKEND],
        "stale_names": {},
        "certificates": [],
    }
    return from_object(document | changes, Status)


def unwrapped(shown: str) -> list[str]:
    """Return the lines as they were before they were wrapped."""
    return shown.replace("\n  ", " ").splitlines()


def last_section(**changes: Any) -> list[str]:
    return unwrapped(text(status(**changes)).split("\n\n", 3)[3])


HEALTHY = """\
docker-hub is active: it is the preferred backend and is up

NAME        STATE  SINCE                 URL
docker-hub  up     2027-01-15 08:00 UTC  https://registry-1.docker.io
ghcr        up     2027-01-15 08:00 UTC  https://ghcr.io

docker-hub: OK, all steps passed
ghcr: OK, all steps passed"""

OUTAGE = """\
ghcr is active: docker-hub down (blob: answered 500)

NAME        STATE        SINCE                 URL
docker-hub  down         2027-01-15 08:00 UTC  https://registry-1.docker.io
ghcr        up, drained  2027-01-15 08:00 UTC  https://ghcr.io
spare       not used     -                     https://spare.test

docker-hub: failed at blob: answered 500 (2027-01-15 08:00 UTC)
ghcr: OK, all steps passed

warning: repositories: empty, so there is no failover: everything is sent to
  docker-hub and nothing to ghcr
handover until 2027-01-15 09:00 UTC: manifests and blobs for Docker are served,
  not redirected
a.test, b.test: certificate expires 2027-01-15 08:00 UTC (by Lab CA, from
  /etc/chain.pem)"""

EXAMPLES = [
    ({"backends": [BACKEND, GHCR]}, HEALTHY),
    (
        {
            "why": "ghcr is active: docker-hub down (blob: answered 500)",
            "backends": [DOWN, GHCR | {"drained": {"since": AT, "until": None}}, UNUSED],
            "warnings": [
                "repositories: empty, so there is no failover: everything is sent to docker-hub and nothing to ghcr"
            ],
            "handover_until": AT + HOUR,
            "certificates": [CERTIFICATE],
        },
        OUTAGE,
    ),
]


@pytest.mark.parametrize(("changes", "expected"), EXAMPLES, ids=["healthy", "outage"])
def test_a_status_is_what_is_active_a_table_the_last_probes_and_notes(changes: dict[str, Any], expected: str) -> None:
    assert text(status(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "docker-hub: OK, all steps passed"),
        (
            {"failed": FAILURE | {"at": AT}},
            f"docker-hub: OK, all steps passed; last failure {AS_TEXT} at blob: answered 500",
        ),
        (
            {"failed": FAILURE | {"at": None}},
            "docker-hub: OK, all steps passed; last failure at blob: answered 500",
        ),
        (
            {"last": FAILURE, "failed": FAILURE | {"at": AT}},
            f"docker-hub: failed at blob: answered 500 ({AS_TEXT})",
        ),
        ({"last": FAILURE}, "docker-hub: failed at blob: answered 500"),
        (
            {"last": LIMITED, "failed": LIMITED | {"at": AT}},
            f"docker-hub: limited at manifest: rate-limited (429), retry in 30 s ({AS_TEXT})",
        ),
        ({"last": {}}, "docker-hub: not probed yet"),
        ({"last": None}, "docker-hub: not probed yet"),
    ],
)
def test_each_backend_has_a_line_with_its_last_probe_and_failure(changes: dict[str, Any], line: str) -> None:
    assert unwrapped(text(status(backends=[BACKEND | changes, UNUSED])).split("\n\n")[2]) == [line]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "up"),
        ({"drained": {"since": AT, "until": None}}, "up, drained"),
        ({"drift": "no digest"}, "up, drift"),
        ({"state": "down", "drained": {"since": AT, "until": None}, "drift": "no digest"}, "down, drained, drift"),
    ],
)
def test_the_state_has_marks(changes: dict[str, Any], state: str) -> None:
    row = text(status(backends=[BACKEND | changes])).splitlines()[3]
    assert row.startswith(f"docker-hub  {state}  ")


def test_a_pinned_backend_is_marked() -> None:
    shown = text(status(pins={"docker-hub": {"since": AT, "until": AT + HOUR}}))
    assert "docker-hub  up, pinned  " in shown
    assert "docker-hub: pinned until 2027-01-15 09:00 UTC" in shown


ROUTE = {"repositories": ["org/*"], "for": "redirect", "backend": "docker-hub", "since": AT, "why": "first"}
SERVING = ROUTE | {"for": "serve"}


@pytest.mark.parametrize(
    ("routes", "lines"),
    [
        ([ROUTE, SERVING], ["for org/*, first"]),
        ([ROUTE | {"repositories": []}, SERVING | {"repositories": []}], []),
        (
            [ROUTE | {"repositories": []}, SERVING | {"repositories": [], "backend": "ghcr", "why": "limited"}],
            ["for serving, limited"],
        ),
        (
            [ROUTE | {"repositories": ["a", "b"]}, SERVING | {"repositories": ["a", "b"], "backend": "ghcr"}],
            ["for a, b, first", "for serving a, b, first"],
        ),
        ([SERVING], ["for serving org/*, first"]),
    ],
)
def test_a_route_and_serving_have_a_line_where_they_differ(routes: list[dict[str, Any]], lines: list[str]) -> None:
    assert text(status(routes=routes)).split("\n\n")[0].splitlines()[1:] == lines


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"drift": "answered 401 for the canary"}, "docker-hub: drift: answered 401 for the canary"),
        ({"drained": {"since": AT, "until": AT}}, f"docker-hub: drained until {AS_TEXT}"),
        ({"limited_until": AT}, f"docker-hub: limited until {AS_TEXT} at the latest"),
        ({"relapses": 2, "failback_after": 240.0}, "docker-hub: relapsed 2 times, fails back after 4 min up"),
        (
            {"pulls_left": {"address": {"remaining": 7, "limit": 100, "window": 21600.0, "at": AT}}},
            "docker-hub: 7 pulls left of 100 in 6 h for this machine's address",
        ),
        (
            {"account": {"problem": "facaded's account was refused", "since": AT}},
            f"docker-hub: facaded's account was refused (since {AS_TEXT})",
        ),
        (
            {"pulls_left": {"account": {"remaining": 7, "limit": None, "window": 0.0, "at": AT}}},
            "docker-hub: 7 pulls left for this machine's account",
        ),
    ],
)
def test_a_backend_has_notes(changes: dict[str, Any], line: str) -> None:
    assert last_section(backends=[BACKEND | changes]) == [line]


def test_a_name_that_does_not_resolve_is_a_note() -> None:
    line = f"hub.test has not resolved since {AS_TEXT}: its last known addresses are used"
    assert last_section(stale_names={"hub.test": AT}) == [line]


@pytest.mark.parametrize(
    ("certificates", "lines"),
    [
        ([CERTIFICATE], [IN_USE]),
        (
            [CERTIFICATE | {"next_renewal": AT - HOUR}],
            [IN_USE.replace(" (", ", renewal 2027-01-15 07:00 UTC (")],
        ),
        (
            [CERTIFICATE | {"expires_soon": True}],
            [IN_USE, "a.test, b.test: certificate expires soon and should have been renewed by now: see the log"],
        ),
        (
            [CERTIFICATE | {"expired": True, "expires_soon": True}],
            [
                IN_USE.replace("expires", "EXPIRED"),
                "a.test, b.test: clients refuse the expired certificate: renew it",
            ],
        ),
        (
            [CERTIFICATE | {"error": "no key"}],
            [IN_USE, "a.test, b.test: certificate not replaced: no key"],
        ),
        (
            [CERTIFICATE | {"error": "no key", "error_at": AT, "attempts": 3, "expires_soon": True}],
            [
                IN_USE,
                f"a.test, b.test: certificate not replaced: no key (at {AS_TEXT}, 3 failed attempts)",
                "a.test, b.test: certificate expires soon and should have been renewed by now: see the log",
            ],
        ),
        (
            [CERTIFICATE | {"suggested_from": AT, "suggested_until": AT + HOUR}],
            [
                IN_USE,
                f"a.test, b.test: the authority suggests a renewal from {AS_TEXT} to 2027-01-15 09:00 UTC",
            ],
        ),
        (
            [CERTIFICATE | {"suggested_from": AT, "suggested_until": AT, "suggested_because": "https://x"}],
            [
                IN_USE,
                f"a.test, b.test: the authority suggests a renewal from {AS_TEXT} to {AS_TEXT} (https://x)",
            ],
        ),
        ([MISSING], ["a.test, b.test: no certificate from ACME: connection refused"]),
        ([MISSING | {"error": None, "names": []}], ["any name: no certificate from ACME yet"]),
        (
            [MISSING | {"next_renewal": AT}, SELF_SIGNED],
            [
                f"a.test, b.test: no certificate from ACME: connection refused; next attempt {AS_TEXT}",
                f"a.test, b.test: temporary self-signed certificate; next attempt {AS_TEXT}",
            ],
        ),
        ([SELF_SIGNED], ["a.test, b.test: temporary self-signed certificate"]),
    ],
)
def test_each_certificate_has_its_lines(certificates: list[dict[str, Any]], lines: list[str]) -> None:
    assert last_section(certificates=certificates) == lines


def test_a_certificate_that_is_missing_or_overdue_or_has_expired_is_bad_news() -> None:
    assert not status(certificates=[CERTIFICATE]).is_bad_news
    assert status(certificates=[CERTIFICATE, CERTIFICATE | {"expires_soon": True}]).is_bad_news
    assert status(certificates=[CERTIFICATE, CERTIFICATE | {"expired": True}]).is_bad_news
    assert status(certificates=[MISSING]).is_bad_news


def test_times_are_in_the_local_zone_as_it_was_then(monkeypatch: pytest.MonkeyPatch) -> None:
    set_zone(monkeypatch, "CET-1CEST,M3.5.0,M10.5.0/3")
    assert "docker-hub  up     2027-01-15 09:00 CET  https" in text(status())
    summer = BACKEND | {"since": AT + 180 * 24 * HOUR}
    assert "docker-hub  up     2027-07-14 10:00 CEST  https" in text(status(backends=[summer]))


@pytest.mark.parametrize("seconds", [1e300, -1e300, float("inf"), float("nan"), 1e15])
def test_a_number_that_is_no_time_is_no_error(seconds: float) -> None:
    assert "handover until (unknown time): " in text(status(handover_until=seconds))


def test_a_number_that_is_no_duration_is_no_error() -> None:
    relapsed = BACKEND | {"relapses": 1, "failback_after": float("inf")}
    assert "fails back after (unknown duration) up" in text(status(backends=[relapsed]))


LONG = "a" * 100
LONG_URL = f"https://{'registry.' * 12}example.com:5000"
SENTENCE = "docker-hub down (token server: the certificate of auth.docker.io cannot be verified) " * 4
HOSTILE = [
    {"why": SENTENCE, "warnings": [SENTENCE, LONG, f"{'b ' * 100}", " " * 200 + "x", ""]},
    {"why": "\x1b[2Jmain\r\nis\tactive\x00\x9b1m\u202e", "warnings": ["\x07" * 200, "a\u2028b", "\ud800"]},
    {"backends": [BACKEND | {"name": LONG}, GHCR, UNUSED | {"url": LONG_URL}]},
    {"backends": [BACKEND | {"name": "a registry with a long name of many words, in a strange document"}, GHCR]},
    {"backends": [BACKEND | {"state": "up and " * 30}, BACKEND | {"name": "", "state": "", "url": ""}]},
    {"backends": [DOWN | {"last": FAILURE | {"reason": SENTENCE}, "drift": SENTENCE}]},
    {"backends": [], "routes": [], "why": ""},
    {"routes": [ROUTE | {"repositories": ["organisation/*"] * 30, "why": SENTENCE}]},
    {"stale_names": {LONG: AT, "\x1b]0;title\x07": AT}},
    {"certificates": [CERTIFICATE | {"names": [f"{number}.docker.example.com" for number in range(100)]}]},
    {"certificates": [MISSING | {"error": "\n\x1b[31m" + SENTENCE}]},
]


def assert_fits_a_terminal(shown: str) -> None:
    for line in shown.split("\n"):
        assert line.isprintable(), "control characters reach the terminal"
        assert len(line) <= WIDTH or len(line.split()) == 1, "a line is too long although it has several words"


@pytest.mark.parametrize("changes", HOSTILE)
def test_a_hostile_document_fits_a_terminal(changes: dict[str, Any]) -> None:
    assert_fits_a_terminal(text(status(**changes)))


def test_a_long_name_does_not_shift_the_other_rows() -> None:
    rows = text(status(backends=[BACKEND | {"name": LONG}, GHCR])).split("\n\n")[1].splitlines()
    assert rows[0].startswith(f"NAME{' ' * 20}  STATE")
    assert rows[-1] == f"ghcr{' ' * 20}  up     {AS_TEXT}  https://ghcr.io"


ANY_TEXT = st.text(max_size=120) | st.lists(st.text(max_size=12), max_size=40).map(" ".join)
ANY_NUMBER = st.floats()
ANY_OVERRIDE = st.fixed_dictionaries({"since": ANY_NUMBER, "until": st.none() | ANY_NUMBER})
ANY_FAILURE = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from(["good", "limited", "bad"]) | ANY_TEXT,
        "step": ANY_TEXT,
        "reason": ANY_TEXT,
        "latency": ANY_NUMBER,
        "at": st.none() | ANY_NUMBER,
    }
)
ANY_QUOTA = st.fixed_dictionaries(
    {"remaining": st.integers(), "limit": st.none() | st.integers(), "window": ANY_NUMBER, "at": ANY_NUMBER}
)
ANY_BACKEND = st.fixed_dictionaries(
    {
        "name": ANY_TEXT,
        "url": ANY_TEXT,
        "state": st.none() | ANY_TEXT,
        "since": st.none() | ANY_NUMBER,
        "last": st.none() | ANY_FAILURE,
        "failed": st.none() | ANY_FAILURE,
        "drift": st.none() | ANY_TEXT,
        "drained": st.none() | ANY_OVERRIDE,
        "pulls_left": st.dictionaries(ANY_TEXT, ANY_QUOTA, max_size=2),
        "limited_until": st.none() | ANY_NUMBER,
        "relapses": st.none() | st.integers(),
        "failback_after": st.none() | ANY_NUMBER,
    }
)
ANY_ROUTE = st.fixed_dictionaries(
    {
        "repositories": st.lists(ANY_TEXT, max_size=3),
        "for": st.sampled_from(["redirect", "serve"]) | ANY_TEXT,
        "backend": ANY_TEXT,
        "since": ANY_NUMBER,
        "why": ANY_TEXT,
    }
)
ANY_CERTIFICATE = st.fixed_dictionaries(
    {
        "names": st.lists(ANY_TEXT, max_size=3),
        "issuer": st.none() | ANY_TEXT,
        "until": st.none() | ANY_NUMBER,
        "expired": st.booleans(),
        "expires_soon": st.booleans(),
        "from": st.just("self-signed") | ANY_TEXT,
        "next_renewal": st.none() | ANY_NUMBER,
        "error": st.none() | ANY_TEXT,
        "error_at": st.none() | ANY_NUMBER,
        "remaining": st.none() | ANY_NUMBER,
        "suggested_from": st.none() | ANY_NUMBER,
        "suggested_until": st.none() | ANY_NUMBER,
        "suggested_because": st.none() | ANY_TEXT,
        "attempts": st.none() | st.integers(),
    }
)


@given(
    ANY_TEXT,
    st.lists(ANY_BACKEND, max_size=2),
    st.lists(ANY_ROUTE, max_size=2),
    st.lists(ANY_CERTIFICATE, max_size=2),
    st.dictionaries(ANY_TEXT, ANY_NUMBER, max_size=1),
    st.none() | ANY_NUMBER,
)
def test_any_document_fits_a_terminal(
    sentence: str,
    backends: list[dict[str, Any]],
    routes: list[dict[str, Any]],
    certificates: list[dict[str, Any]],
    stale_names: dict[str, float],
    handover_until: float | None,
) -> None:
    changes = {"why": sentence, "warnings": [sentence], "stale_names": stale_names, "handover_until": handover_until}
    lists = {"backends": backends, "routes": routes, "certificates": certificates}
    assert_fits_a_terminal(text(status(**changes, **lists)))


def test_reached_limits_are_listed() -> None:
    limits = [
        {"name": "connections", "count": 1, "last": AT, "subject": "192.0.2.7"},
        {"name": "unsent_bytes", "count": 7, "last": AT, "subject": "main"},
    ]
    assert last_section(limits=limits) == [
        f"limit reached: connections, once, last {AS_TEXT} by 192.0.2.7",
        f"limit reached: unsent_bytes, 7 times, last {AS_TEXT} by main",
    ]


def test_clients_that_asked_again_are_listed() -> None:
    why = "192.0.2.7 (docker) asked again for org/app:latest: served for 60 s"
    asked_again = {"count": 7, "latest": [{"since": AT, "until": AT, "why": why}]}
    assert last_section(asked_again=asked_again) == [
        "clients were served because they asked again after a redirect: 7 times",
        f"{why}, until {AS_TEXT}",
    ]


def test_several_processes_have_one_line_that_names_those_which_do_not_answer() -> None:
    worker = {"number": 0, "pid": 10, "since": AT, "state": "up", "connections": 3, "requests": 40}
    starting = worker | {"number": 1, "state": "starting", "connections": 0, "requests": 0}
    assert last_section(workers=[worker, worker | {"number": 1}]) == ["workers: 2 of 2 up, 6 connections, 80 requests"]
    assert last_section(workers=[worker, starting]) == [
        "workers: 1 of 2 up, 3 connections, 40 requests; worker 1 is starting"
    ]
    assert text(status(workers=[worker])) == text(status()), "one process is what everybody expects"
