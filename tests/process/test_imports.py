"""What a serving daemon imports, which costs it start time and memory: nothing that only the commands need."""

import re

from tests.process.daemon import Daemon

SERVED = "/v2/org/app/manifests/v1"

NOT_FOR_SERVING = {
    "automat": "Twisted's ClientService uses it; 0.6 MiB",
    "facaded.admin.status_text": "facaded status",
    "facaded.cli.check_command": "facaded check",
    "facaded.cli.daemon_commands": "the commands that ask the daemon",
    "facaded.cli.hosts_text": "facaded hosts",
    "facaded.cli.parity_command": "facaded parity",
    "facaded.explain.explanation_text": "facaded explain",
    "facaded.parity": "facaded parity",
    "facaded.preflight": "facaded check",
    "importlib.metadata": "the version of an installed package; 0.8 MiB",
}
"""The modules and packages that must not be imported, and what they are for."""


def test_a_daemon_that_serves_has_not_imported_what_serving_does_not_need(daemon: Daemon) -> None:
    daemon.environ = daemon.environ | {"PYTHONPROFILEIMPORTTIME": "1"}  # Python reports each import in the log
    daemon.start()
    assert daemon.get("/v2/", headers={"User-Agent": "containerd/2.1.9"})[0] == 307
    assert daemon.get(SERVED, headers={"User-Agent": "skopeo/1.22"})[0] == 200
    imported = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", daemon.log, re.MULTILINE))
    assert {"facaded.cli.serve_command", "facaded.web.facade", "treq"} <= imported, "Python reported the imports"
    assert [name for name in NOT_FOR_SERVING if name in imported] == []
