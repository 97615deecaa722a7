"""Prometheus in a process: it scrapes daemons on loopback addresses, and evaluates the rules of conf/alerts.yml."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define

from tests.process.daemon import Daemon, free_port, wait_until

CONF = Path(__file__).parents[2] / "conf"
ALERTS = CONF / "alerts.yml"

CONFIG = """
global:
  scrape_interval: 500ms
  scrape_timeout: 500ms
  evaluation_interval: 500ms
rule_files: ["{rules}"]
scrape_configs:
  - job_name: facaded
    static_configs:
      - targets: [{targets}]
"""

SHORTER = {
    r"(    for: )\w+": r"\g<1>0s",
    r"facaded_probe_duration_seconds_count\[15m\]": "facaded_probe_duration_seconds_count[4s]",
    r"facaded_probe_duration_seconds_count offset 15m": "facaded_probe_duration_seconds_count offset 4s",
}
"""How the times of the rules are shortened for a test: regular expressions and what replaces their matches."""


@define
class Prometheus:
    """A Prometheus that listens on `port`."""

    port: int
    process: subprocess.Popen[bytes]

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=5) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of a query. Raises HTTPError if it is not valid."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"}

    @property
    def is_ready(self) -> bool:
        try:
            return bool(self.query("count(up)"))
        except OSError:
            return False


def shorten(rules: str) -> str:
    """Return rules whose alerts fire at once."""
    for pattern, replacement in SHORTER.items():
        rules, count = re.subn(pattern, replacement, rules)
        assert count, pattern
    return rules


@contextmanager
def scraping(directory: Path, *daemons: Daemon) -> Iterator[Prometheus]:
    """Run Prometheus, which scrapes these daemons twice a second."""
    directory.mkdir()
    rules, config, port = directory / "rules.yml", directory / "prometheus.yml", free_port()
    rules.write_text(shorten(ALERTS.read_text()))
    targets = ", ".join(f'"127.0.0.1:{daemon.admin}"' for daemon in daemons)
    config.write_text(CONFIG.format(rules=rules, targets=targets))
    arguments = [f"--config.file={config}", f"--storage.tsdb.path={directory}/data"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", *arguments, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    prometheus = Prometheus(port, process)
    try:
        wait_until(lambda: prometheus.is_ready, "Prometheus scrapes", 30)
        yield prometheus
    finally:
        process.kill()
        process.wait(10)


def promtool(*arguments: str, text: str | None = None) -> str:
    """Run promtool, and return what it prints; fail if it is not content."""
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def wait_for_alerts(prometheus: Prometheus, *names: str, also: Callable[[], object] = lambda: None) -> None:
    """Wait until these alerts fire; `also` is called again and again meanwhile."""

    def are_firing() -> bool:
        also()
        return {*names} <= prometheus.firing()

    wait_until(are_firing, f"{', '.join(names)} fire", 60)
