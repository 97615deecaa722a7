"""The status document: its values, and the JSON that clients of every version read."""

import json
from typing import Any

from facaded.admin.reporter import Reporter
from facaded.admin.status import CertificateStatus, InForce, Status, document, probe_status
from facaded.net.json_documents import from_json, from_object, to_json
from facaded.policy.decision import BackendRules, Rules
from facaded.policy.health import Canary, Quota, Result, Step, Verdict
from facaded.policy.repositories import parse
from facaded.state import Clocks
from tests.watching import BAD, GOOD, Watching

BACKENDS = {name: BackendRules(f"https://{name}.test") for name in ("main", "second", "spare")}
IN_FORCE = InForce(Rules(repositories=(parse("org/*"),), backends=BACKENDS), "facaded.toml", ("mind this",))
FROM_FILES = {
    "names": ["a.test"],
    "issuer": "Lab CA",
    "until": 1e9,
    "expired": False,
    "expires_soon": True,
    "from": "/etc/chain.pem",
    "next_renewal": None,
    "error": None,
}
ORDERED = FROM_FILES | {
    "from": "ACME",
    "next_renewal": 9e8,
    "not_after": 1e9,
    "suggested_because": None,
    "error_at": 5.0,
    "attempts": 2,
    "ca": "https://ca.test/directory",
}
ROUTE = ("main", "second", "spare")


def watching() -> Watching:
    """A watch in whose outage `second` has taken over; `spare` is drained for an hour."""
    watching = Watching.begin(*ROUTE)
    for name in ROUTE:
        watching.backends.answer(name, GOOD)
    watching.watch.quotas.note("second", "address", Quota(7, 100, 21600.0))
    watching.watch.drain("spare", 3600)
    while watching.active == "main":
        watching.advance(0.1)
        if "main" in watching.backends.waiting:
            watching.backends.answer("main", BAD)
    return watching


def status(watching: Watching, *certificates: dict[str, Any]) -> Status:
    watch = watching.watch
    pulls_left = {name: watch.quotas.of(name) for name in BACKENDS}
    given = [from_object(each, CertificateStatus) for each in certificates]
    return document(IN_FORCE, watch.snapshot(), pulls_left, {"hub.test": 3.0}, given, lambda at: 1000.0 + at)


def as_json(status: Status) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(to_json(status)))
    return read


def test_the_client_of_the_version_before_finds_every_key_that_it_reads() -> None:
    watched = watching()
    found = as_json(status(watched, FROM_FILES, ORDERED))
    assert found["why"] == "second is active: main is down (GET /v2/: connection refused)"
    assert found["warnings"] == ["mind this"]
    assert found["handover_until"] == 1000.0 + watched.clock.seconds() + 3600
    assert found["stale_names"] == {"hub.test": 1003.0}
    main, second, spare = found["backends"]
    assert (main["name"], main["url"], main["state"]) == ("main", "https://main.test", "down")
    assert main["failed"] == {
        "verdict": "bad",
        "step": "GET /v2/",
        "reason": "connection refused",
        "latency": 0.1,
        "at": 1000.0 + watched.clock.seconds(),
    }
    assert main["since"] == main["failed"]["at"]
    assert (main["drift"], main["limited_until"], main["relapses"], main["failback_after"]) == (None, None, 0, 60)
    assert second["last"] == {"verdict": "good", "step": "token server", "reason": "token granted", "latency": 0.1}
    assert second["pulls_left"] == {"address": {"remaining": 7, "limit": 100, "window": 21600.0, "at": 1000.0}}
    assert spare["drained"] == {"since": 1000.0, "until": 4600.0}
    assert [(each["repositories"], each["for"], each["backend"]) for each in found["routes"]] == [
        ([], "redirect", "second"),
        ([], "serve", "second"),
    ]
    assert [each["why"] for each in found["routes"]] == [found["why"]] * 2
    assert FROM_FILES.items() <= found["certificates"][0].items()
    assert ORDERED.items() <= found["certificates"][1].items()


def test_programs_find_the_other_keys_too() -> None:
    found = as_json(status(watching()))
    assert (found["schema"], found["settings"], found["active"]) == (1, "facaded.toml", "second")
    assert found["active_since"] == found["routes"][0]["since"]
    assert found["pins"] == {}
    assert {"version", "certificates"} <= found.keys()


def test_a_pin_is_in_the_document() -> None:
    watched = watching()
    watched.watch.pin("main", None)
    since = 1000.0 + watched.clock.seconds()
    assert as_json(status(watched))["pins"] == {"main": {"since": since, "until": None}}


def test_a_backend_that_no_route_uses_has_nulls() -> None:
    watched = Watching.begin("main")
    rules = Rules(backends={"main": BACKENDS["main"], "spare": BACKENDS["spare"]})
    found = document(InForce(rules, "defaults"), watched.watch.snapshot(), {}, {}, (), lambda at: at)
    main, spare = as_json(found)["backends"]
    assert main["last"] == {}, "it has not been probed yet"
    assert spare == {
        "name": "spare",
        "url": "https://spare.test",
        "pulls_left": {},
        **dict.fromkeys(main.keys() - {"name", "url", "pulls_left"}),
    }


def test_a_limited_backend_says_until_when() -> None:
    watched = Watching.begin("main", "second")
    used_up = Result(Verdict.LIMITED, Step.MANIFEST, "no pulls left", 0.1, quota=Quota(0, 100, 21600.0))
    watched.backends.answer("main", used_up)
    assert status_of(watched, "main")["limited_until"] == 1000.0 + 21600.0


def status_of(watching: Watching, name: str) -> dict[str, Any]:
    rules = Rules(backends={each: BACKENDS[each] for each in ("main", "second")}, repositories=(parse("org/*"),))
    found = document(InForce(rules, ""), watching.watch.snapshot(), {}, {}, (), lambda at: 1000.0 + at)
    return next(each for each in as_json(found)["backends"] if each["name"] == name)


def test_a_probe_says_its_drift_only_if_there_is_one() -> None:
    drifting = Result(Verdict.GOOD, Step.MANIFEST, "manifest found", 0.12345, canary=Canary(True, "", "no digest"))
    assert to_json(probe_status(drifting))["drift"] == "no digest"
    assert to_json(probe_status(GOOD)) == {
        "verdict": "good",
        "step": "token server",
        "reason": "token granted",
        "latency": 0.1,
    }


def test_what_is_written_is_read_back() -> None:
    written = status(watching(), FROM_FILES, ORDERED)
    assert from_json(json.dumps(to_json(written)).encode(), Status) == written


class Names:
    def stale(self) -> dict[str, float]:
        return {"hub.test": 3.0}


def test_the_reporter_goes_by_the_settings_in_force() -> None:
    watched = watching()
    reporter = Reporter(IN_FORCE, watched.watch, Names(), None, lambda: Clocks(1000.0, 0.0))
    assert reporter.report() == status(watched)
    reporter.reconfigure(InForce(IN_FORCE.rules, "other.toml"))
    assert (reporter.report().settings, reporter.report().warnings) == ("other.toml", ())
