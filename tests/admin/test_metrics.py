"""The metrics: what they say of backends, requests, settings and certificates."""

from pathlib import Path

import pytest
from attrs import evolve
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from facaded.admin.daemon_metrics import expiry_rows, trouble_rows
from facaded.admin.request_metrics import CODES
from facaded.oci.clients import identify
from facaded.policy.health import Quota, Result, Step, Verdict
from facaded.policy.limits import Limit
from facaded.tls.acme.order_status import OrderStatus
from facaded.tls.certificate_status import CertificateReport
from facaded.web.accesslog import TwistedOutput
from facaded.web.answer_batches import AnswerBatches
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome
from facaded.web.server import BoundedSite
from tests.admin.measuring import ROUTED, RULES, WALL, Measured
from tests.tls.authority import Authority
from tests.tls.served import CertificatesHarness
from tests.watching import BAD, GOOD, Watching, fail, up

LIMITED = Result(Verdict.LIMITED, Step.MANIFEST, "no pulls left", 0.1)
NOTHING_WAITS = AnswerBatches(Clock(), ()).flush
MANIFEST = Decision(Kind.MANIFEST, Outcome.REDIRECTED, "main", "org/app", "latest")


def answered(
    decision: Decision = MANIFEST, status: int = 307, agent: str = "docker/28", seconds: float = 0.0002
) -> AnsweredRequest:
    return AnsweredRequest("192.0.2.7", "GET", "/v2/x", identify(agent), decision, status, 10, seconds, WALL)


def test_requests_are_counted_by_fixed_labels_without_repositories() -> None:
    measured = Measured()
    note = measured.metrics.requests.note
    note([answered(evolve(MANIFEST, repository=repository)) for repository in ("org/a", "org/b")])
    note([answered(Decision(Kind.BLOB, Outcome.SERVED, "second"), 307, "skopeo/1.22", 0.7)])
    note([answered(Decision(Kind.PING, Outcome.ANSWERED_HERE), 200, "", 0.7)])
    assert measured.rows("requests_total") == {
        ("manifest", "redirected", "307", "docker", "main"): 2,
        ("blob", "served", "307", "containers", "second"): 1,
        ("ping", "answered_here", "200", "other", ""): 1,
    }
    assert measured.rows("request_duration_seconds") == {
        ("manifest", "redirected"): 2,
        ("blob", "served"): 1,
        ("ping", "answered_here"): 1,
    }


def test_requests_that_wait_to_be_counted_are_counted_before_they_are_shown() -> None:
    measured = Measured()
    answers = AnswerBatches(Clock(), [measured.metrics.requests.note])
    measured.metrics.follow({}, TwistedOutput(), answers.flush)
    answers.follow(answered())
    assert measured.rows("requests_total") == {("manifest", "redirected", "307", "docker", "main"): 1}


def test_a_status_that_http_does_not_have_is_no_label_value() -> None:
    measured = Measured()
    for status in (299, 298, 600):
        measured.metrics.requests.note([answered(status=status)])
    assert measured.rows("requests_total") == {("manifest", "redirected", "other", "docker", "main"): 3}
    assert {200, 307, 429, 503} <= CODES


def test_a_state_is_one_of_a_fixed_list() -> None:
    measured = Measured(up("main", "second"))
    assert measured.states() == {"main": "up", "second": "up"}
    assert len(measured.rows("backend_state")) == 2 * 5
    fail(measured.watching, "main")
    assert measured.states() == {"main": "down", "second": "up"}


def test_before_the_first_probe_nothing_is_known_and_nothing_is_down() -> None:
    measured = Measured()
    assert measured.states() == {"main": "unknown", "second": "unknown"}
    assert measured.row("all_backends_down") == 0


def test_an_outage_of_all_backends_is_one_number() -> None:
    measured = Measured(up("main", "second"))
    fail(measured.watching, "main")
    assert measured.row("all_backends_down") == 0
    fail(measured.watching, "second")
    assert measured.row("all_backends_down") == 1


def test_a_failover_of_redirects_and_of_serving_counts_once_with_its_reason() -> None:
    measured = Measured(up("main", "second", failback_after=5))
    assert measured.rows("failovers_total") == {}
    fail(measured.watching, "main")
    assert measured.rows("failovers_total") == {("main", "second", "down"): 1}
    assert (measured.active(), measured.active("serve")) == (["second"], ["second"])


def test_failovers_by_operators_have_their_reason() -> None:
    watching = up("main", "second", failback_after=0)
    measured = Measured(watching)
    watching.watch.pin("second", None)
    assert measured.rows("backend_pinned") == {("main",): 0, ("second",): 1}
    watching.watch.unpin()
    watching.watch.drain("main", None)
    assert measured.rows("backend_drained") == {("main",): 1, ("second",): 0}
    reasons = {reason for _, _, reason in measured.rows("failovers_total")}
    assert reasons == {"pinned", "unpinned", "drained"}


def test_a_limited_backend_still_gets_redirects() -> None:
    watching = Watching.begin("main", "second")
    measured = Measured(watching)
    watching.backends.answer("main", LIMITED)
    watching.backends.answer("second", GOOD)
    assert (measured.states()["main"], measured.active(), measured.active("serve")) == ("limited", ["main"], ["second"])


def test_a_route_is_named_by_its_patterns() -> None:
    measured = Measured(up("main", "second"), ROUTED)
    assert {labels[0] for labels in measured.rows("backend_active")} == {"org/a, org/b", "**"}
    assert measured.active(route="org/a, org/b") == ["main"]


def test_pulls_are_those_that_the_backend_last_said_until_its_window_has_passed() -> None:
    measured = Measured(up("main", "second"))
    quotas, clock = measured.watching.watch.quotas, measured.watching.clock
    quotas.note("main", "address", Quota(76, 100, 3600.0))
    quotas.note("main", "account", Quota(7, None, 60.0))
    quotas.note("gone", "address", Quota(7, None, 60.0))
    assert measured.rows("backend_pulls_remaining") == {("main", "address"): 76, ("main", "account"): 7}
    clock.advance(61)
    assert measured.rows("backend_pulls_remaining") == {("main", "address"): 76}


def test_the_last_success_of_a_step_is_in_wall_time() -> None:
    measured = Measured(up("main", "second"))
    assert measured.rows("probe_last_success_timestamp_seconds") == {}
    measured.watching.clock.advance(5)
    measured.watching.backends.proofs["main"].note_pass(5.0, Step.PING)
    measured.watching.clock.advance(100)
    rows = measured.rows("probe_last_success_timestamp_seconds")
    assert rows == {("main", "ping"): WALL + 5}


def test_the_series_of_a_backend_go_when_a_reload_removes_it() -> None:
    watching = up("main", "second")
    measured = Measured(watching)
    fail(watching, "main")
    watching.watch.measurements.note_probe("main", {Step.PING: 0.1})
    for backend in ("main", "second", None):
        measured.metrics.requests.note([answered(evolve(MANIFEST, backend=backend))])
    watching.watch.reconfigure(watching.backends.plan("second"))
    watching.advance(0.1)
    measured.metrics.reconfigure(evolve(RULES, backends={"second": RULES.backends["second"]}))
    measured.metrics.requests.note([answered()])  # began before the reload
    for name, family in measured.families.items():
        labels = [value for row in family.rows for value in row]
        assert "main" not in labels, name
    assert {labels[4] for labels in measured.rows("requests_total")} == {"second", ""}
    assert measured.rows("request_duration_seconds") == {("manifest", "redirected"): 3}, "it has no backend"


def test_every_limit_has_a_series_from_the_start() -> None:
    measured = Measured()
    rows = measured.rows("limit_reached_total")
    assert len(rows) == len(Limit)
    assert set(rows.values()) == {0}
    measured.watching.watch.reached_limits.note(Limit.HANDSHAKE_SIZE, "192.0.2.7")
    assert measured.rows("limit_reached_total")[("handshake_size",)] == 1
    measured.watching.watch.stopService()


def test_lost_lines_of_the_log_are_counted() -> None:
    class LosingOutput(TwistedOutput):
        lost_lines = 7

    measured = Measured()
    assert measured.row("log_lines_lost_total") == 0
    measured.metrics.follow({}, LosingOutput(), NOTHING_WAITS)
    assert measured.row("log_lines_lost_total") == 7


def test_a_reload_sets_the_time_of_the_settings_and_a_failed_one_only_says_so() -> None:
    measured = Measured()
    assert (measured.row("config_last_reload_successful"), measured.row("config_last_reload_timestamp_seconds")) == (
        1,
        WALL,
    )
    measured.watching.clock.advance(50)
    measured.reloads.succeeded = False
    assert measured.row("config_last_reload_successful") == 0
    assert measured.row("config_last_reload_timestamp_seconds") == WALL
    measured.metrics.reconfigure(RULES)
    assert measured.row("config_last_reload_timestamp_seconds") == WALL + 50


def test_connections_and_relayed_bytes_are_those_of_the_sites() -> None:
    measured, clock = Measured(), Clock()
    sites = {key: BoundedSite(Resource(), clock) for key in ("listen.http", "listen.admin")}
    measured.metrics.follow(sites, TwistedOutput(), NOTHING_WAITS)
    sites["listen.http"].relayed_bytes += 100
    sites["listen.admin"].relayed_bytes += 1
    assert measured.rows("connections") == {("http",): 0, ("admin",): 0}
    assert measured.row("relayed_bytes_total") == 101


def test_a_wildcard_has_the_names_that_it_stands_for(tmp_path: Path) -> None:
    files = Authority().write(tmp_path, "*.lab.test")
    harness = CertificatesHarness(files, hosts=("docker.lab.test", "other.test"))
    end = harness.certificates.choose("docker.lab.test").certificate.validity.end
    assert expiry_rows(list(harness.certificates.status())) == {("*.lab.test",): end, ("other.test",): 0}


def test_there_are_no_metrics_of_certificates_without_tls() -> None:
    assert [name for name in Measured().families if "certificate" in name] == []


def test_the_expiry_is_that_of_the_certificate_that_is_served_for_a_name(tmp_path: Path) -> None:
    files = Authority().write(tmp_path, "docker.lab.test")
    harness = CertificatesHarness(files, hosts=("docker.lab.test", "b.lab.test"))
    orders = [OrderStatus(("c.lab.test",), error="refused")]
    rows = expiry_rows(list(harness.certificates.status(orders)))
    assert rows[("docker.lab.test",)] == harness.certificates.choose("docker.lab.test").certificate.validity.end
    assert rows[("b.lab.test",)] == 0, "a temporary self-signed certificate"
    assert rows[("c.lab.test",)] == 0, "there is none yet"


@pytest.mark.parametrize("expired_first", [True, False])
def test_a_valid_certificate_counts_before_an_expired_one_for_the_same_name(expired_first: bool) -> None:
    expired = CertificateReport(("a.test",), "old.pem", until=1.0, expired=True)
    valid = CertificateReport(("a.test",), "new.pem", until=2.0)
    reports = [expired, valid] if expired_first else [valid, expired]
    assert expiry_rows(reports) == {("a.test",): 2.0}


def test_the_trouble_with_a_certificate_is_graded() -> None:
    reports = [
        CertificateReport(("good.test",), "ACME", until=1.0),
        CertificateReport(("overdue.test",), "ACME", until=1.0, expires_soon=True),
        CertificateReport(("urgent.test",), "ACME", until=1.0, expires_soon=True, is_urgent=True),
        CertificateReport(("expired.test",), "ACME", until=1.0, expired=True),
        CertificateReport(("missing.test",), "ACME"),
        CertificateReport(("temporary.test",), "self-signed", until=1.0),
    ]
    rows = {name.removesuffix(".test"): level for (name,), level in trouble_rows(reports).items()}
    assert rows == {"good": 0, "overdue": 1, "urgent": 2, "expired": 2, "missing": 2, "temporary": 2}


def test_unusable_results_of_probes_do_not_change_the_states() -> None:
    measured = Measured(up("main", "second"))
    measured.watching.advance(10)
    measured.watching.backends.answer("main", BAD)
    assert measured.states() == {"main": "up", "second": "up"}
