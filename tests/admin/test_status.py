"""The status document: its values, and its JSON, which clients of every version read."""

import json
from typing import Any

from attrs import evolve

from facaded.admin.reporter import Reporter
from facaded.admin.status import CertificateStatus, InForce, Status, WorkerStatus, document, probe_status
from facaded.backends.seen_hosts import SeenHosts
from facaded.net.json_documents import from_json, from_object, to_json
from facaded.oci.clients import find_client
from facaded.oci.requests import ManifestRead
from facaded.policy.asked_again import AskedAgain
from facaded.policy.decision import BackendRules, Rules
from facaded.policy.health import Canary, Quota, Result, Step, Verdict
from facaded.policy.limits import Limit
from facaded.policy.network_hosts import HostPurpose, expected_hosts
from facaded.policy.repositories import parse
from facaded.state import Clocks
from tests.policy.asking import Front
from tests.watching import BAD, GOOD, Watching

BACKENDS = {name: BackendRules(f"https://{name}.test") for name in ("main", "second", "spare")}
IN_FORCE = InForce(Rules(repositories=(parse("org/*"),), backends=BACKENDS), "facaded.toml", ("no failover",))
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
    """Return a watch of which `main` is down, `second` active, and `spare` drained for an hour."""
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
    statuses = [from_object(certificate, CertificateStatus) for certificate in certificates]
    refusals = {name: watch.refused_accounts.of(name) for name in BACKENDS}
    names = {"hub.test": 3.0}
    return document(IN_FORCE, watch.snapshot(), pulls_left, refusals, names, statuses, lambda at: 1000.0 + at)


def as_json(status: Status) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(json.dumps(to_json(status)))
    return parsed


def test_a_client_of_the_previous_version_finds_every_key_that_it_reads() -> None:
    watched = watching()
    shown = as_json(status(watched, FROM_FILES, ORDERED))
    assert shown["why"] == "second is active: main is down (GET /v2/: connection refused)"
    assert shown["warnings"] == ["no failover"]
    assert shown["handover_until"] == 1000.0 + watched.clock.seconds() + 3600
    assert shown["stale_names"] == {"hub.test": 1003.0}
    main, second, spare = shown["backends"]
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
    assert [(route["repositories"], route["for"], route["backend"]) for route in shown["routes"]] == [
        ([], "redirect", "second"),
        ([], "serve", "second"),
    ]
    assert [route["why"] for route in shown["routes"]] == [shown["why"]] * 2
    assert FROM_FILES.items() <= shown["certificates"][0].items()
    assert ORDERED.items() <= shown["certificates"][1].items()


def test_a_program_finds_the_other_keys() -> None:
    shown = as_json(status(watching()))
    assert (shown["schema"], shown["settings"], shown["active"]) == (1, "facaded.toml", "second")
    assert shown["active_since"] == shown["routes"][0]["since"]
    assert shown["pins"] == {}
    assert {"version", "certificates"} <= shown.keys()


def test_a_pin_is_in_the_document() -> None:
    watched = watching()
    watched.watch.pin("main", None)
    since = 1000.0 + watched.clock.seconds()
    assert as_json(status(watched))["pins"] == {"main": {"since": since, "until": None}}


def test_a_refused_account_is_in_the_document() -> None:
    watched = watching()
    since = 1000.0 + watched.clock.seconds()
    watched.watch.refused_accounts.note("second", "", "facaded's account was refused")
    main, second, _ = as_json(status(watched))["backends"]
    assert main["account"] is None
    assert second["account"] == {"problem": "facaded's account was refused", "since": since}


def test_a_backend_that_no_route_uses_has_nulls() -> None:
    watched = Watching.begin("main")
    rules = Rules(backends={"main": BACKENDS["main"], "spare": BACKENDS["spare"]})
    shown = document(InForce(rules, "defaults"), watched.watch.snapshot(), {}, {}, {}, (), lambda at: at)
    main, spare = as_json(shown)["backends"]
    assert main["last"] == {}, "it has not been probed yet"
    assert spare == {
        "name": "spare",
        "url": "https://spare.test",
        "pulls_left": {},
        "samples": {},
        **dict.fromkeys(main.keys() - {"name", "url", "pulls_left", "samples"}),
    }


def test_a_limited_backend_has_the_end_of_the_limit() -> None:
    watched = Watching.begin("main", "second")
    used_up = Result(Verdict.LIMITED, Step.MANIFEST, "no pulls left", 0.1, quota=Quota(0, 100, 21600.0))
    watched.backends.answer("main", used_up)
    assert status_of(watched, "main")["limited_until"] == 1000.0 + 21600.0


def status_of(watching: Watching, name: str) -> dict[str, Any]:
    rules = Rules(
        backends={backend: BACKENDS[backend] for backend in ("main", "second")}, repositories=(parse("org/*"),)
    )
    shown = document(InForce(rules, ""), watching.watch.snapshot(), {}, {}, {}, (), lambda at: 1000.0 + at)
    return next(backend for backend in as_json(shown)["backends"] if backend["name"] == name)


def test_a_probe_has_a_drift_only_if_there_is_one() -> None:
    drifting = Result(Verdict.GOOD, Step.MANIFEST, "manifest found", 0.12345, canary=Canary(True, "", "no digest"))
    assert to_json(probe_status(drifting))["drift"] == "no digest"
    assert to_json(probe_status(GOOD)) == {
        "verdict": "good",
        "step": "token server",
        "reason": "token granted",
        "latency": 0.1,
    }


def test_a_status_is_read_back_as_it_was_written() -> None:
    written = status(watching(), FROM_FILES, ORDERED)
    assert from_json(json.dumps(to_json(written)).encode(), Status) == written


def test_it_is_bad_news_if_every_backend_in_use_is_drained() -> None:
    watched = Watching.begin(*ROUTE)
    for name in ROUTE:
        watched.backends.answer(name, GOOD)
    for name in ROUTE[:2]:
        watched.watch.drain(name, None)
    assert not status(watched).is_bad_news, "spare is left"
    watched.watch.drain("spare", None)
    assert status(watched).is_bad_news
    watched.watch.undrain("main")
    assert not status(watched).is_bad_news


def test_a_backend_that_no_route_uses_is_not_counted_as_one_that_is_left() -> None:
    watched = Watching.begin("main")
    watched.backends.answer("main", GOOD)
    watched.watch.drain("main", None)
    rules = Rules(backends={"main": BACKENDS["main"], "spare": BACKENDS["spare"]})
    assert document(InForce(rules, "defaults"), watched.watch.snapshot(), {}, {}, {}, (), lambda at: at).is_bad_news


class Names:
    def stale(self) -> dict[str, float]:
        return {"hub.test": 3.0}


def test_a_reached_limit_is_in_the_document() -> None:
    watched = watching()
    watched.watch.reached_limits.note(Limit.CONNECTIONS, "192.0.2.7")
    reporter = Reporter(IN_FORCE, watched.watch, Names(), None, lambda: Clocks(1000.0, 0.0), AskedAgain(), SeenHosts())
    assert as_json(reporter.report())["limits"] == [
        {"name": "connections", "count": 1, "last": 1000.0 + watched.clock.seconds(), "subject": "192.0.2.7"}
    ]


def test_the_processes_that_answer_clients_are_in_the_document() -> None:
    watched, worker = watching(), WorkerStatus(1, 11, 1001.0, "up", 5, 40)
    reporter = Reporter(IN_FORCE, watched.watch, Names(), None, lambda: Clocks(1000.0, 0.0), AskedAgain(), SeenHosts())
    assert as_json(reporter.report())["workers"] == []
    reporter.follow(lambda: (worker,))
    assert as_json(reporter.report())["workers"] == [to_json(worker)]


def test_the_reporter_uses_the_settings_in_force() -> None:
    watched = watching()
    reporter = Reporter(IN_FORCE, watched.watch, Names(), None, lambda: Clocks(1000.0, 0.0), AskedAgain(), SeenHosts())
    assert evolve(reporter.report(), headline=None) == status(watched)
    reporter.reconfigure(InForce(IN_FORCE.rules, "other.toml"))
    assert (reporter.report().settings, reporter.report().warnings) == ("other.toml", ())


def test_clients_that_asked_again_are_in_the_document_and_explained() -> None:
    watched, front = watching(), Front()
    for second in (10, 15):
        front.ask(second, "HEAD", ManifestRead("org/app", "latest"))
    reporter = Reporter(IN_FORCE, watched.watch, Names(), None, lambda: Clocks(1020.0, 20.0), front.table, SeenHosts())
    sentence = "192.0.2.7 (docker) asked again for org/app:latest: served for 60 s"
    assert as_json(reporter.report())["asked_again"] == {
        "count": 1,
        "latest": [{"since": 1015.0, "until": 1075.0, "why": sentence}],
    }
    assert reporter.explain_returns("org/app", find_client("docker")) == (sentence,)
    assert reporter.explain_returns("org/app", find_client("ctr")) == ()


def test_the_hosts_are_those_of_the_settings_and_those_that_the_backends_led_to() -> None:
    rules, seen = IN_FORCE.rules, SeenHosts()
    in_force = InForce(rules, "facaded.toml", (), expected_hosts(rules, ()))
    reporter = Reporter(in_force, watching().watch, Names(), None, lambda: Clocks(0.0, 0.0), AskedAgain(), seen)
    seen.note("https://main.test", HostPurpose.TOKENS, "https://auth.test/token?service=x")
    seen.note("https://gone.test", HostPurpose.TOKENS, "https://auth.gone.test/token")
    assert [(one.host, one.expected, one.seen) for one in reporter.list_hosts().hosts] == [
        ("main.test", True, False),
        ("auth.test", False, True),
        ("second.test", True, False),
        ("spare.test", True, False),
    ]
