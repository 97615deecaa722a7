"""What a serving daemon imports, which costs it start time and memory: nothing that only the commands need."""

import re
import subprocess
import sys
from collections import Counter

from tests.process.daemon import Daemon

SERVED = "/v2/org/app/manifests/v1"

NOT_FOR_SERVING = {
    "twisted.spread": "twisted.web.server; 1.6 MiB",
    "automat": "Twisted's ClientService uses it; 0.6 MiB",
    "facaded.admin.status_page": "the first look at the status page",
    "facaded.admin.status_text": "facaded status, and the status page",
    "facaded.admin.daemon_answers": "facaded check",
    "facaded.authorities": "facaded check",
    "facaded.cli.acme_check": "facaded check",
    "facaded.cli.check_command": "facaded check",
    "facaded.cli.daemon_commands": "the commands that ask the daemon",
    "facaded.cli.hosts_text": "facaded hosts",
    "facaded.cli.parity_command": "facaded parity",
    "facaded.explain.explanation_text": "facaded explain",
    "facaded.own_answers": "facaded check",
    "facaded.own_ports": "facaded check",
    "facaded.parity": "facaded parity",
    "facaded.preflight": "facaded check",
    "facaded.tls.acme.dry_runs": "facaded check",
    "http.server": "the exposition of prometheus_client",
    "importlib.metadata": "the version of an installed package; 0.8 MiB",
    "prometheus_client": "the first scrape of /metrics; 0.6 MiB and 15 ms",
}
"""The modules and packages that must not be imported, and what they are for."""

NOT_FOR_WORKERS = {
    "argparse": "the command line",
    "difflib": "mistakes in the settings; 0.2 MiB",
    "facaded.admin.commands": "the control socket",
    "facaded.admin.metrics": "the admin listener",
    "facaded.admin.reporter": "facaded status",
    "facaded.admin.site": "the admin listener",
    "facaded.admin.status": "facaded status",
    "facaded.backends.check": "health checks",
    "facaded.backends.ladder": "health checks",
    "facaded.backends.watch": "health checks",
    "facaded.cli.command_line": "the command line",
    "facaded.command_run": "[notify]",
    "facaded.net.connections": "the first request to a backend; with Twisted's client and treq 2 MiB",
    "facaded.service": "the first process",
    "facaded.state": "the state file",
    "facaded.tls.acme.account_key": "obtaining certificates",
    "facaded.tls.termination": "obtaining certificates",
    "facaded.workers.worker_pool": "the first process",
    "josepy": "obtaining certificates",
    "treq": "the first request to a backend",
    "twisted.internet.endpoints": "Unix sockets and other kinds of endpoints; 0.4 MiB",
    "twisted.web.client": "the first request to a backend",
}
"""What a worker must not import at its start in addition. Together they take 5 MiB."""

LATE = ("treq", "twisted.web.client", "facaded.net.connections")
"""What the first request to a backend imports."""


def imports_of(output: str) -> list[str]:
    """Return the modules whose imports Python reported, for each time that it did."""
    return re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", output, re.MULTILINE)


def test_a_daemon_that_serves_has_not_imported_what_serving_does_not_need(daemon: Daemon) -> None:
    daemon.environ = daemon.environ | {"PYTHONPROFILEIMPORTTIME": "1"}  # Python reports each import in the log
    daemon.spawn()
    daemon.wait_until(lambda: daemon.ready, "ready")
    assert daemon.get("/v2/", headers={"User-Agent": "containerd/2.1.9"})[0] == 307
    assert daemon.get(SERVED, headers={"User-Agent": "skopeo/1.22"})[0] == 200
    imported = set(imports_of(daemon.log))
    assert {"facaded.cli.serve_command", "facaded.web.facade", "treq"} <= imported, "Python reported the imports"
    assert [name for name in NOT_FOR_SERVING if name in imported] == []


def test_a_worker_has_not_imported_what_only_the_first_process_does() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "facaded", "worker", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "facaded starts its workers itself" in ended.stderr
    imported = set(imports_of(ended.stderr))
    assert {"facaded.worker_process", "facaded.web.facade", "twisted.web.http"} <= imported, (
        "Python reported the imports"
    )
    assert [name for name in NOT_FOR_SERVING | NOT_FOR_WORKERS if name in imported] == []


def count_late(daemon: Daemon) -> list[int]:
    """Return how many processes have imported each of LATE."""
    imported = imports_of(daemon.log)
    return [imported.count(name) for name in LATE]


def test_a_worker_that_only_redirects_does_not_import_the_client_of_backends(daemon: Daemon) -> None:
    daemon.settings = f"workers = 2\n{daemon.settings}"
    daemon.environ = daemon.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    daemon.start()
    daemon.wait_until(lambda: "worker 1 (pid" in daemon.log, "the worker answers")

    def ids_of_answers(path: str, agent: str) -> Counter[str]:
        answers = [daemon.get(path, headers={"User-Agent": agent}) for _ in range(20)]
        assert {status for status, *_ in answers} <= {200, 307}
        return Counter(headers["X-Request-Id"].partition("-")[0] for _, headers, _ in answers)

    assert len(ids_of_answers("/v2/", "containerd/2.1.9")) == 2, "both processes have answered"
    assert count_late(daemon) == [1] * len(LATE), "the first process, for its probes"
    assert len(ids_of_answers(SERVED, "skopeo/1.22")) == 2
    assert count_late(daemon) == [2] * len(LATE)


def test_a_worker_that_serves_every_client_imports_it_at_its_start(daemon: Daemon) -> None:
    daemon.settings = f'workers = 2\nanswer = "serve"\n{daemon.settings}'
    daemon.environ = daemon.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    daemon.start()
    daemon.wait_until(lambda: "worker 1 (pid" in daemon.log, "the worker answers")
    assert count_late(daemon) == [2] * len(LATE)
