"""Prometheus and its tools with a real daemon: they accept what facaded ships, and each alert fires in its outage."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from facaded.tls.certificate_files import CertificateFiles
from tests.process.daemon import FAST, Daemon, Registry, running, wait_until
from tests.process.handshakes import NAME
from tests.system.prometheus import ALERTS, CONF, Prometheus, promtool, scraping, wait_for_alerts
from tests.tls.authority import NOW, Authority, put

MANUAL = Path(__file__).parents[2] / "facaded" / "manual" / "monitoring.md"
RULE_TESTS = Path(__file__).with_name("alerts.test.yml")

EVERY_ALERT = set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))

WITHOUT_OUTAGE = {"FacadedWorkerMissing"}
"""Alerts that fire in the tests of promtool only: a worker that ended is replaced before a scrape misses it."""

TLS = """
hosts = ["127.0.0.1", "{name}"]
[tls]
redirect_http = false
[[tls.certificate]]
chain = "{files.chain}"
key = "{files.key}"
"""

SERVED = {"User-Agent": "skopeo/1.22"}

COMPARED = (" == ", " > ")
"""What is in the queries that have no result while all is well."""


class BrownRegistry(Registry):
    """A registry that, with the mode `brown`, fails two of three requests for manifests."""

    count = 0

    def _respond(self, mode: str, path: str) -> tuple[int, bytes, dict[str, str]]:
        if mode == "brown" and "/manifests/" in path:
            self.count += 1
            return super()._respond("manifests-500" if self.count % 3 else "token", path)
        return super()._respond(mode, path)


@pytest.fixture
def main() -> Registry:
    return BrownRegistry("127.0.0.2").start()


@pytest.fixture
def second() -> Registry:
    return Registry("127.0.0.3").start()


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    (tmp_path / "tls").mkdir()
    files = CertificateFiles(tmp_path / "tls" / "chain.pem", tmp_path / "tls" / "key.pem")
    put(files, *Authority().issue(NAME, ends=NOW + timedelta(hours=6)))
    return files


@pytest.fixture
def daemon(tmp_path: Path, main: Registry, second: Registry, files: CertificateFiles) -> Iterator[Daemon]:
    """A daemon whose certificate expires soon."""
    settings = FAST.format(main=main, second=second)
    settings = TLS.format(name=NAME, files=files) + settings.replace("fall = 2", 'fall = 2\ncanary = "org/app"')
    daemon = Daemon(tmp_path, settings.replace('repositories = ["org/*"]', "", 1))
    daemon.settings = 'repositories = ["org/*"]\n' + daemon.settings
    with running(daemon, main, second):
        yield daemon


@pytest.fixture
def idle(tmp_path: Path, second: Registry) -> Iterator[Daemon]:
    """A daemon that hardly ever probes, allows few requests, and whose disk is full."""
    (tmp_path / "idle").mkdir()
    settings = FAST.format(main=second, second=second).replace('interval = "2s"', 'interval = "1h"', 1)
    settings = settings.partition('[[backend]]\nname = "second"')[0]
    daemon = Daemon(tmp_path / "idle", f"{settings}\n[limits]\nrequests_per_source = 1\n")
    daemon.arguments = ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', *daemon.arguments]
    with running(daemon):
        yield daemon


def metrics(daemon: Daemon) -> str:
    return daemon.get("/metrics", port=daemon.admin, host="127.0.0.1")[2].decode()


def test_promtool_accepts_the_rules_their_tests_and_the_manual_s_configuration(
    needs: Callable[..., None], tmp_path: Path
) -> None:
    needs("promtool")
    assert f"{len(EVERY_ALERT)} rules found" in promtool("check", "rules", str(ALERTS))
    assert "SUCCESS" in promtool("test", "rules", str(RULE_TESTS))
    (example,) = re.findall(r"```yaml\n(rule_files: .*?)```", MANUAL.read_text(), re.DOTALL)
    config = tmp_path / "prometheus.yml"
    config.write_text(example.replace("/etc/prometheus/facaded-alerts.yml", str(ALERTS)))
    assert "SUCCESS" in promtool("check", "config", str(config))


def test_promtool_accepts_the_metrics(needs: Callable[..., None], daemon: Daemon) -> None:
    needs("promtool")
    daemon.start()
    assert daemon.get("/v2/org/app/manifests/v1", headers=SERVED)[0] == 200
    assert promtool("check", "metrics", text=metrics(daemon)) == ""


def test_each_alert_fires_in_its_outage_and_the_dashboard_shows_it(
    needs: Callable[..., None], tmp_path: Path, daemon: Daemon, idle: Daemon, main: Registry, second: Registry
) -> None:
    needs("prometheus")
    daemon.start()
    idle.start()
    expiring = {"FacadedCertificateExpires", "FacadedCertificateExpiresSoon"}
    with scraping(tmp_path / "prometheus", daemon, idle) as prometheus:
        fired = set(expiring)
        wait_for_alerts(prometheus, *expiring)
        assert prometheus.firing() <= {*expiring, "FacadedProbesStale"}, "nothing else is wrong"
        wait_for_alerts(prometheus, "FacadedProbesStale")
        fired |= prometheus.firing()
        fired |= break_settings_and_files(prometheus, daemon, idle)
        fired |= break_registries(prometheus, daemon, main, second)
        check_dashboard(prometheus)
        idle.kill()
        wait_for_alerts(prometheus, "FacadedUnreachable")
        assert fired | prometheus.firing() == EVERY_ALERT - WITHOUT_OUTAGE


def break_settings_and_files(prometheus: Prometheus, daemon: Daemon, idle: Daemon) -> set[str]:
    """Let a reload and renewals fail, and send more requests than are allowed."""
    good = daemon.settings
    daemon.write_settings("bogus = 1")
    assert daemon.run("reload").returncode == 2
    daemon.settings = good
    chain = daemon.directory / "tls" / "chain.pem"
    good_chain = chain.read_text()
    for _ in range(3):
        chain.write_text("")
        wait_until(lambda: certificate_error(daemon), "the files are unusable")
        chain.write_text(good_chain)
        wait_until(lambda: not certificate_error(daemon), "the files are usable")
    for _ in range(20):
        idle.get("/v2/org/app/manifests/v1", headers=SERVED)
    counted = "FacadedLimitReached", "FacadedLogLinesLost"
    wait_for_alerts(prometheus, "FacadedReloadFailed", "FacadedCertificateRenewalFails", *counted)
    return prometheus.firing()


def certificate_error(daemon: Daemon) -> str | None:
    error: str | None = daemon.status()["certificates"][0]["error"]
    return error


def break_registries(prometheus: Prometheus, daemon: Daemon, main: Registry, second: Registry) -> set[str]:
    """Let the first registry fail more and more, and then the other one too."""

    def pull() -> None:
        daemon.get("/v2/org/app/manifests/v1", headers=SERVED)

    main.mode = "brown"
    wait_for_alerts(prometheus, "FacadedBackendDegraded", also=pull)
    fired = prometheus.firing()
    main.mode = "used-up"
    wait_for_alerts(prometheus, "FacadedBackendLimited", "FacadedPullsLow", also=pull)
    fired |= prometheus.firing()
    main.mode = second.mode = "500"
    wait_for_alerts(prometheus, "FacadedBackendDown", "FacadedAllBackendsDown", "FacadedServesErrors", also=pull)
    return fired | prometheus.firing()


def check_dashboard(prometheus: Prometheus) -> None:
    """Run every query of the dashboard."""
    dashboard = json.loads((CONF / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    assert len(queries) > 30
    for query in queries:
        expression = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
        assert "$" not in expression, query
        assert prometheus.query(expression) or any(part in query for part in COMPARED), f"no data: {query}"
