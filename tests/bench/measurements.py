"""What is measured of servers, all in the same rounds: each round measures one after the other.

The server that begins changes from round to round, and a ratio compares figures of the same round, so what else the
machine does, or a core that becomes slower, touches all of them.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from typing import Any, TypeAlias

from attrs import define, field, frozen

from tests.bench.clients import ROOT, end
from tests.bench.ratios import Results, shorten
from tests.bench.servers_under_load import Server, pinned
from tests.bench.wrk import VARIED, Load

TLS_AT_ONCE = (8, 50)
"""Pulls at once while CPU time is measured, so that the server always has work; 50 are as many as wrk's connections."""

PULLS_AT_ONCE = {1: 100, 50: 100, 500: 500}
"""Pulls for each measurement of latency, by how many there are at once."""

PULL_TIME = 120.0
"""Seconds within which all pulls of a round must end."""

IDLE_CONNECTIONS = 1000

SETTLING = 0.5
"""Seconds until memory is measured."""

MEMORY_SHARE = 2
"""Of so many rounds one measures memory, which hardly changes from one to the next."""

LOAD_PULLS = 200
"""Pulls over TLS that are part of the load before memory is measured."""


@frozen
class Figure:
    """A number of one row; `busy` is the part of its core that the load used meanwhile, where that limits it."""

    number: float
    busy: float = 0.0


Measure: TypeAlias = Callable[[Server], Mapping[str, Figure]]


@frozen
class Options:
    """How much is measured: `rounds`, whole `seconds` of each load, `pulls` over TLS, and the cores."""

    rounds: int
    seconds: int
    pulls: int
    server_core: int
    load_core: int


@define
class Bench:
    """Measures servers into `results`. `say` shows progress.

    `unexpected` counts the answers of each server whose status was not the expected one.
    """

    options: Options
    results: Results
    say: Callable[[str], None]
    unexpected: dict[str, Counter[int]] = field(factory=dict)

    def rates(self, servers: Sequence[Server], name: str, load: Load, is_secure: bool = False) -> None:
        """Answers a second under a load, and CPU time of the server for each.

        CPU time is nearly the same on a busy machine, where the server has its core for a part of the time.
        """

        def measure(server: Server) -> dict[str, Figure]:
            url = server.secure_url if is_secure else server.url
            before = server.cpu_seconds()
            rate = load.run(url, self.options.load_core, self.options.seconds)
            cpu = server.cpu_seconds() - before
            return {
                f"{name}/s": Figure(rate.answers / rate.seconds, rate.busy),
                f"CPU us, {name}": Figure(cpu / rate.answers * 1e6),
            }

        with self._running(servers):
            self._measure(servers, measure)

    def cpu_of_pulls(self, servers: Sequence[Server]) -> None:
        """CPU time of the server for each pull over TLS: a full handshake, six requests, and the close."""

        def measure(server: Server) -> dict[str, Figure]:
            figures = {}
            for at_once in TLS_AT_ONCE:
                before = server.cpu_seconds()
                self._pull(server, self.options.pulls, at_once)
                used = (server.cpu_seconds() - before) / self.options.pulls
                figures[f"CPU us of a pull, {at_once} at once"] = Figure(used * 1e6)
            return figures

        with self._running(servers):
            self._measure(servers, measure)

    def latency(self, servers: Sequence[Server]) -> None:
        """How long all answers of a pull over TLS take, if so many pulls begin at the same time."""

        def measure(server: Server) -> dict[str, Figure]:
            figures = {}
            for at_once, pulls in PULLS_AT_ONCE.items():
                document = self._pull(server, pulls, at_once)
                milliseconds = [seconds * 1000 for seconds in document["seconds"]]
                figures[f"ms of a pull, {at_once} at once"] = Figure(median(milliseconds), document["busy"])
                figures[f"99 % of pulls, {at_once}"] = Figure(quantiles(milliseconds, n=100)[-1], document["busy"])
            return figures

        with self._running(servers):
            self._measure(servers, measure)

    def memory(self, servers: Sequence[Server]) -> None:
        """Memory of a new server, for each idle connection over TLS, and after loads of all kinds.

        The load has a new server too, because memory that many connections needed may stay with the process.
        """

        def measure(server: Server) -> dict[str, Figure]:
            with self._running([server]):
                time.sleep(SETTLING)
                new = server.memory()
                idle = self._memory_of_idle_connections(server)
            with self._running([server]):
                for url in (server.url, server.secure_url):
                    VARIED.run(url, self.options.load_core, self.options.seconds)
                self._pull(server, LOAD_PULLS, max(TLS_AT_ONCE))
                time.sleep(SETTLING)
                loaded = server.memory()
            return {
                "MiB at start, PSS": Figure(new.pss),
                "MiB at start, RSS": Figure(new.rss),
                "KiB, idle TLS connection": Figure(idle),
                "MiB after the load, PSS": Figure(loaded.pss),
                "MiB after the load, RSS": Figure(loaded.rss),
            }

        self._measure(servers, measure, -(-self.options.rounds // MEMORY_SHARE))

    def start(self, servers: Sequence[Server]) -> None:
        """The time from the start of the process to its first redirect."""

        def measure(server: Server) -> dict[str, Figure]:
            seconds = server.start(self.options.server_core)
            server.stop()
            return {"ms from start to answer": Figure(seconds * 1000)}

        self._measure(servers, measure)

    @contextmanager
    def _running(self, servers: Sequence[Server]) -> Iterator[None]:
        """Start those servers that do not run yet, and stop them in the end."""
        started = [server for server in servers if server.process is None]
        try:
            for server in started:
                server.start(self.options.server_core)
                server.count_statuses()
            yield
        finally:
            for server in started:
                server.stop()

    def _measure(self, servers: Sequence[Server], measure: Measure, rounds: int = 0) -> None:
        rounds = rounds or self.options.rounds
        for number in range(rounds):
            first = number % len(servers)
            rows: dict[str, list[str]] = {}
            for server in [*servers[first:], *servers[:first]]:
                if server.process is not None:
                    server.wake()
                for row, figure in measure(server).items():
                    self.results.add(row, server.name, figure.number, figure.busy)
                    rows.setdefault(row, []).append(f"{server.name} {shorten(figure.number)}")
                self._note(server, server.count_statuses())
            for row, figures in rows.items():
                self.say(f"{number + 1}/{rounds} {row}: {', '.join(figures)}")

    def _note(self, server: Server, statuses: Mapping[int, int]) -> None:
        counts = Counter({status: count for status, count in statuses.items() if status != server.expected})
        if counts:
            self.unexpected.setdefault(server.name, Counter()).update(counts)

    def _pull(self, server: Server, pulls: int, at_once: int) -> dict[str, Any]:
        """Pull over TLS in a process of its own, and return the document that it prints."""
        process = self._spawn(server, f"--pulls={pulls}", f"--at-once={at_once}")
        output, _ = process.communicate(timeout=PULL_TIME)
        assert process.returncode == 0, f"pulls from {server.name} failed"
        document: dict[str, Any] = json.loads(output)
        self._note(server, {int(status): count for status, count in document["statuses"].items()})
        return document

    def _memory_of_idle_connections(self, server: Server) -> float:
        """Return the KiB (PSS) that the server takes for each idle connection, after one request on it."""
        before = server.memory().pss
        process = self._spawn(server, f"--idle={IDLE_CONNECTIONS}")
        try:
            assert process.stdout is not None
            document = json.loads(process.stdout.readline())
            time.sleep(SETTLING)
            after = server.memory().pss
        finally:
            end(process)
        return (after - before) * 1024 / int(document["connections"])

    def _spawn(self, server: Server, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.bench.pull_load", server.host, str(server.https), "--tls", *arguments]
        with pinned(self.options.load_core):
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
