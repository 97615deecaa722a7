"""Load by wrk, which is written in C: on its core it sends more requests than facaded or Caddy can answer.

`Rate.busy` shows it in each run: what part of its core the load used. Where that is nearly all of it, the server could
have answered more; that happens with nginx and HAProxy alone.
"""

import json
import resource
import subprocess
from pathlib import Path

from attrs import frozen

from tests.bench.servers_under_load import TAG, pinned

SCRIPT = Path(__file__).with_name("requests.lua")

CONNECTIONS = 50
"""Connections that wrk keeps open."""

NAMES, AGENTS = 10_000, 20
"""Repositories and User-Agents of varied requests."""


@frozen
class Rate:
    """Answers, the seconds in which they came, and the part of its core that the load used for them."""

    answers: int
    seconds: float
    busy: float


@frozen
class Load:
    """Requests of one kind. `names` of 0 means one request for `target`, repeated; `close` a connection for each."""

    names: int = 0
    agents: int = 1
    target: str = TAG
    close: bool = False

    def run(self, url: str, core: int, seconds: int) -> Rate:
        """Send requests to a server for whole seconds."""
        first = str(core * NAMES // 2)
        arguments = [str(self.names), str(self.agents), self.target, first, *(["close"] if self.close else [])]
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT), url, "--", *arguments]
        cpu = _cpu_of_children()
        with pinned(core):
            run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
        cpu = _cpu_of_children() - cpu
        summary = json.loads(run.stdout.splitlines()[-1])
        assert summary["requests"], f"no answers from {url}:\n{run.stdout}"
        assert summary["failed"] == 0, f"{summary['failed']} requests to {url} failed:\n{run.stdout}"
        elapsed = summary["microseconds"] / 1e6
        return Rate(summary["requests"], elapsed, min(1.0, cpu / elapsed))


REPEATED = Load()

VARIED = Load(NAMES, AGENTS)

CLOSED = Load(NAMES, AGENTS, close=True)


def _cpu_of_children() -> float:
    """Return the seconds of CPU time of the processes that have ended: wrk, while no server is stopped."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
