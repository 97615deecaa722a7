"""The headline: what an operator reads first, in the words of log and /statusz."""

from typing import Any

import pytest
from attrs import evolve

from facaded.admin.headline import FINE, STARTING, find_headline
from facaded.admin.reporter import Reporter
from facaded.admin.status import (
    AccountStatus,
    CertificateStatus,
    Headline,
    InForce,
    Status,
    WorkerStatus,
    document,
)
from facaded.admin.status_text import Appearance, text
from facaded.backends.seen_hosts import SeenHosts
from facaded.policy.asked_again import AskedAgain
from facaded.policy.decision import BackendRules, Rules
from facaded.policy.evidence import Attempt
from facaded.policy.health import Canary, Quota, Result, Step, Verdict
from facaded.policy.repositories import parse
from facaded.state import Clocks
from facaded.tls.certificates import SELF_SIGNED
from tests.watching import GOOD, Watching, fail, up

WALL = 1_795_651_200.0
"""2026-11-26 00:00 UTC: the monotonic time 0."""

CERTIFICATE = CertificateStatus(("a.test",), "Lab CA", WALL + 1e6, False, False, "/chain.pem")


def headline(watching: Watching, **changes: Any) -> Headline:
    """Return the headline of a watch, and of a status with these changes."""
    snapshot = watching.watch.snapshot()
    shown = document(in_force(watching), snapshot, {}, {}, {}, (), wall)
    return find_headline(evolve(shown, **changes), snapshot, wall)


def wall(at: float) -> float:
    return WALL + at


def in_force(watching: Watching) -> InForce:
    backends = {name: BackendRules(f"https://{name}.test") for name in watching.watch.snapshot().plan.backends}
    return InForce(Rules(repositories=(parse("org/*"),), backends=backends), "facaded.toml")


def three_up() -> Watching:
    return up("main", "second", "spare")


def test_if_nothing_needs_a_look_clients_are_fine() -> None:
    assert headline(three_up()) == Headline("green", FINE)


def test_before_the_first_probes_nothing_is_known() -> None:
    assert headline(Watching.begin("main", "second")) == Headline("amber", STARTING)


def test_a_backend_that_is_down_needs_a_look_while_another_one_answers() -> None:
    watching = three_up()
    watching.advance(300)
    fail(watching, "main")
    since = WALL + watching.clock.seconds()
    assert headline(watching) == Headline(
        "amber",
        f"{FINE}, but one thing needs a look",
        since,
        ("main is down (GET /v2/: connection refused), since 00:05 UTC",),
    )


def test_an_outage_has_the_time_of_the_last_failure_and_the_words_of_the_log() -> None:
    watching = up("main", "second")
    fail(watching, "main")
    watching.advance(600)
    fail(watching, "second")
    since = WALL + watching.clock.seconds()
    watching.advance(120)
    shown = headline(watching)
    assert (shown.level, shown.since) == ("red", since)
    sentence = "ALL BACKENDS DOWN (main: connection refused; second: connection refused)"
    assert shown.text == f"Pulls affected since 00:10 UTC: {sentence}"
    assert any(sentence in news for news in watching.news)
    assert len(shown.remarks) == 2


def test_a_pinned_backend_that_is_down_affects_pulls() -> None:
    watching = three_up()
    watching.watch.pin("main", None)
    fail(watching, "main")
    shown = headline(watching)
    assert shown.level == "red"
    assert "THE PINNED BACKEND IS DOWN" in shown.text


def test_a_limited_backend_needs_a_look() -> None:
    watching = three_up()
    limited = Result(Verdict.LIMITED, Step.MANIFEST, "no pulls left", 0.1, quota=Quota(0))
    watching.advance(10)
    watching.backends.answer("main", limited)
    shown = headline(watching)
    assert shown.level == "amber"
    assert shown.remarks == ("main is limited (manifest: no pulls left), since 00:00 UTC",)


def test_drift_needs_a_look() -> None:
    watching = three_up()
    watching.advance(10)
    watching.backends.answer("second", evolve(GOOD, canary=Canary(False, "", "the canary is missing")))
    assert headline(watching).remarks == ("second drifts: the canary is missing",)


def test_a_degraded_backend_needs_a_look_and_pulls_may_fail_if_all_are() -> None:
    watching = up("main", "second")
    for name in ("main", "second"):
        for number in range(6):
            failed = Attempt(name, Step.BLOB, False, f"org/app{number}", f"192.0.2.{number}", "answered 500")
            watching.watch.report(failed)
        shown = headline(watching)
        affected = "Some pulls may fail since 00:00 UTC: second is degraded"
        expected = f"{FINE}, but one thing" if name == "main" else affected
        assert shown.level == "amber"
        assert shown.text.startswith(expected)
    assert shown.remarks[0].startswith("main is degraded (blob: 6 of 6 requests failed in 60 s), since 00:00 UTC")


@pytest.mark.parametrize(
    ("certificates", "level", "text"),
    [
        ((CERTIFICATE,), "green", FINE),
        ((evolve(CERTIFICATE, expires_soon=True),), "amber", f"{FINE}, but one thing needs a look"),
        ((evolve(CERTIFICATE, error="no answer"),), "amber", f"{FINE}, but one thing needs a look"),
        (
            (evolve(CERTIFICATE, until=WALL - 3600.0, expired=True),),
            "red",
            "Clients cannot connect since 23:00 UTC: the certificate of a.test has expired: renew it",
        ),
        (
            (evolve(CERTIFICATE, until=None),),
            "red",
            "Clients cannot connect: there is no certificate of a.test yet: see the log",
        ),
        (
            (evolve(CERTIFICATE, source=SELF_SIGNED, names=()),),
            "red",
            "Clients cannot connect: there is no certificate of any name yet: see the log",
        ),
        ((evolve(CERTIFICATE, until=WALL - 1, expired=True), CERTIFICATE), "green", FINE),
        (
            (evolve(CERTIFICATE, until=None), evolve(CERTIFICATE, names=("*.test",))),
            "green",
            FINE,
        ),
        (
            (evolve(CERTIFICATE, names=("b.test",), until=None), CERTIFICATE),
            "red",
            "Clients cannot connect: there is no certificate of b.test yet: see the log",
        ),
    ],
)
def test_certificates_count_if_clients_need_them(
    certificates: tuple[CertificateStatus, ...], level: str, text: str
) -> None:
    shown = headline(three_up(), certificates=certificates)
    assert (shown.level, shown.text) == (level, text)


def test_other_things_need_a_look_too() -> None:
    watching = three_up()
    before = document(in_force(watching), watching.watch.snapshot(), {}, {}, {}, (), wall)
    account = AccountStatus("facaded's account was refused", WALL - 60.0)
    workers = (WorkerStatus(0, 1, WALL, "up", 0, 0), WorkerStatus(1, 2, WALL, "starting", 0, 0))
    backends = (evolve(before.backends[0], account=account), *before.backends[1:])
    shown = headline(watching, backends=backends, workers=workers, stale_names={"hub.test": WALL - 120.0})
    assert shown == Headline(
        "amber",
        f"{FINE}, but 3 things need a look",
        WALL - 120.0,
        (
            "main: facaded's account was refused, since 23:59 UTC",
            "hub.test does not resolve: its last known addresses are used, since 23:58 UTC",
            "worker 1 is starting",
        ),
    )


def test_it_says_if_all_backends_are_drained() -> None:
    watching = three_up()
    for name in ("main", "second", "spare"):
        watching.watch.drain(name, None)
    assert "all backends are drained" in headline(watching).remarks


def report(watching: Watching) -> Status:
    class Names:
        def stale(self) -> dict[str, float]:
            return {}

    clocks = Clocks(WALL + watching.clock.seconds(), watching.clock.seconds())
    return Reporter(
        in_force(watching), watching.watch, Names(), None, lambda: clocks, AskedAgain(), SeenHosts()
    ).report()


def test_the_status_on_a_terminal_has_the_colour_of_the_headline() -> None:
    watching = up("main", "second", "spare")
    appearance = Appearance(has_colours=True)
    assert text(report(watching), appearance).startswith("\x1b[32mmain is active")
    watching.watch.pin("main", None)
    fail(watching, "main")
    shown = report(watching)
    assert shown.headline is not None
    assert shown.headline.level == "red"
    assert text(shown, appearance).startswith("\x1b[31mmain is active"), "although others work"
