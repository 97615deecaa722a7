"""The manual's page of monitoring: it has every metric and every alert, and the settings that it names exist."""

import ast
import re
from pathlib import Path

from facaded.admin.metric_families import CounterFamily, GaugeFamily, MetricFamily
from facaded.config.schema import SETTINGS
from tests.admin.measuring import Measured
from tests.test_security_manual import keys
from tests.watching import up

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "facaded" / "manual" / "monitoring.md").read_text()
RULES = (ROOT / "conf" / "alerts.yml").read_text()

METRIC = re.compile(r"^\| `(facaded_\w+)` \| (\w+) \| ([\w, ]*) ?\|", re.MULTILINE)
ALERT = re.compile(r"^\| `(Facaded\w+)` \| (\w+) \|", re.MULTILINE)


def kind(family: MetricFamily) -> str:
    if isinstance(family, CounterFamily):
        return "counter"
    return "gauge" if isinstance(family, GaugeFamily) else "histogram"


def test_the_page_has_every_metric_with_its_type_and_its_labels() -> None:
    page = {
        name: (kind_, tuple(filter(None, labels.strip().split(", ")))) for name, kind_, labels in METRIC.findall(PAGE)
    }
    families = Measured(up("main", "second")).families
    only_with_tls = {name for name in page if "certificate" in name}
    assert len(only_with_tls) == 3
    assert {name: page[name] for name in page if name not in only_with_tls} == {
        name: (kind(family), family.labels) for name, family in families.items()
    }
    source = (ROOT / "facaded" / "admin" / "daemon_metrics.py").read_text()
    constants = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert only_with_tls <= constants


def test_the_page_has_every_alert_with_its_severity() -> None:
    rules = re.findall(r"- alert: (\w+)\n.*?severity: (\w+)", RULES, re.DOTALL)
    assert ALERT.findall(PAGE) == rules


def test_every_alert_has_a_command_to_type() -> None:
    commands = re.findall(r'command: "([^"]+)"', RULES)
    assert len(commands) == len(re.findall("- alert:", RULES))
    known = (
        "facaded status",
        "facaded check",
        "facaded renew",
        "systemctl status facaded",
        "journalctl -u facaded",
        "df -h",
    )
    assert [command for command in commands if not command.startswith(known)] == []


def test_the_settings_that_the_page_names_exist() -> None:
    section = PAGE.partition("What the labels mean")[0]
    code = re.findall(r"`([a-z_]+\.[a-z_]+|\[+[a-z]+\]+|[a-z]+_[a-z]+)`", section)
    named = {name for name in code if not name.startswith("facaded_")} - {"check_restart"}
    assert {"listen.admin", "listen.admin_hosts", "stop_delay", "relay_blobs", "[tls]"} <= named
    assert named <= {*keys(SETTINGS), "[tls]"}
