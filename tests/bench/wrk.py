"""Load by wrk, which is written in C: on its core it sends more requests than any of the servers can answer."""

import json
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
class Load:
    """Requests of one kind. `names` of 0 means one request for `target`, repeated; `close` a connection for each."""

    names: int = 0
    agents: int = 1
    target: str = TAG
    close: bool = False

    def run(self, url: str, core: int, seconds: int) -> float:
        """Send requests to a server for whole seconds, and return how many it has answered a second."""
        arguments = [str(self.names), str(self.agents), self.target, *(["close"] if self.close else [])]
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(SCRIPT), url, "--", *arguments]
        with pinned(core):
            run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
        summary = json.loads(run.stdout.splitlines()[-1])
        assert summary["requests"], f"no answers from {url}:\n{run.stdout}"
        assert summary["failed"] == 0, f"{summary['failed']} requests to {url} failed:\n{run.stdout}"
        return float(summary["requests"] / summary["microseconds"] * 1e6)


REPEATED = Load()

VARIED = Load(NAMES, AGENTS)

CLOSED = Load(NAMES, AGENTS, close=True)
