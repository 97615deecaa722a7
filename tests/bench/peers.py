"""Speed: `python -m tests.bench.peers` measures facaded beside Caddy, nginx, HAProxy and docker-registry.

All servers run at the same time, each on the same core, with the load on another one, and take turns: a round measures
each of them once. The tables have the ratio of each server to Caddy: the median of the rounds, and the least and the
most of them. For rates more is better; for time and memory, less.

Every server redirects the same paths, writes an access log to a file and has its metrics switched on. `one request` is
answered by a facaded with `answer = "redirect"`, because a client that asks again is served otherwise; everything else
by one with the default, `auto`. Served manifests come from its cache, and docker-registry is its backend.

The load is cheap, so that it is not what is measured: its share of its core is measured too, and figures that it may
limit are named below the tables. On a quiet machine they are those of nginx and HAProxy alone. CPU time and memory do
not depend on the load's speed.

RSS is what counts for facaded and Caddy. Their PSS is a little less, facaded's more so, because this program shares
Python with it; for nginx and HAProxy, which are two processes, RSS counts twice what these share.

Programs: wrk, caddy, nginx, haproxy and docker-registry, which Debian has. Run it as root on a machine with two cores
that does nothing else; with other work, the ranges become wide (`--nice -5` helps). The exit status is 1 if an answer
was not the expected one: a facaded that gets no CPU time for seconds serves, because its checks end too late.
"""

import argparse
import json
import os
import re
import resource
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from attrs import define, evolve, field

from tests.bench.clients import ROOT
from tests.bench.import_times import measure_imports
from tests.bench.manifest_registry import manifest_registry
from tests.bench.measurements import Bench, Options
from tests.bench.ratios import WIDTH, Results, align, to_markdown
from tests.bench.redirectors import NAME, Scene, backend_registry, caddy, facaded, haproxy, nginx
from tests.bench.servers_under_load import Server
from tests.bench.wrk import CLOSED, REPEATED, VARIED, Load
from tests.tls.authority import Authority

MEASUREMENTS = ("plain", "tls", "connections", "pulls", "latency", "memory", "start", "serve")

Layout: TypeAlias = Callable[[Sequence[Sequence[str]]], list[str]]
"""From the cells of a table to its lines."""

QUICK_ROUNDS, QUICK_SECONDS = 2, 1

FULL_PULLS, QUICK_PULLS = 500, 100
"""Pulls over TLS of a round."""


@define
class Comparison:
    """All servers, made in `scene`, and what was measured of them so far.

    `checkout` is that of facaded, `caddy_path` the program, without access log and metrics if `bare`.
    """

    scene: Scene
    checkout: Path
    caddy_path: str
    bare: bool
    peers: list[Server] = field(init=False)
    redirecting: Server = field(init=False)
    auto: Server = field(init=False)
    results: Results = field(init=False, factory=lambda: Results("Caddy"))
    served: Results = field(init=False, factory=lambda: Results("docker-registry"))
    versions: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.redirecting = facaded(self.scene, "127.0.0.10", self.checkout, "redirect")
        self.auto = facaded(self.scene, "127.0.0.11", self.checkout, "auto")
        self.peers = [
            caddy(self.scene, "127.0.0.12", self.caddy_path, self.bare),
            nginx(self.scene, "127.0.0.13"),
            haproxy(self.scene, "127.0.0.14"),
        ]
        self.versions = {server.name: server.version for server in (self.auto, *self.peers)}

    def measure(self, name: str, bench: Bench) -> None:
        """Run one of MEASUREMENTS."""
        servers = [self.auto, *self.peers]
        match name:
            case "plain" | "tls":
                prefix, is_secure = ("TLS, ", True) if name == "tls" else ("plain, ", False)
                bench.rates([self.redirecting, *self.peers], f"{prefix}one request", REPEATED, is_secure)
                bench.rates(servers, f"{prefix}varied", VARIED, is_secure)
            case "connections":
                bench.rates(servers, "new connections", CLOSED)
            case "pulls":
                bench.cpu_of_pulls(servers)
            case "latency":
                bench.latency(servers)
            case "memory":
                bench.memory(servers)
            case "start":
                bench.start(servers)
            case "serve":
                self._serve(bench)

    def _serve(self, bench: Bench) -> None:
        bench.results = self.served
        with manifest_registry(self.scene.directory / "registry", bench.options.server_core) as registry:
            scene = evolve(self.scene, backend=registry.server.url)
            own = facaded(scene, "127.0.0.15", self.checkout, "serve")
            bench.rates([own, registry.server], "served manifests", Load(target=registry.target))
            self.versions[registry.server.name] = registry.server.version
        bench.results = self.results

    def report(self, unexpected: Mapping[str, Mapping[int, int]], layout: Layout) -> list[str]:
        """Return all lines to print, with tables in this layout."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        paragraphs = [f"{datetime.now(UTC).date()}, {machine()}: {versions}"]
        tables = []
        for results in (self.results, self.served):
            if results.rows:
                tables += ["", *layout(results.ratios()), "", *layout(results.medians())]
            paragraphs += results.limits()
        for name, counts in unexpected.items():
            answers = ", ".join(f"{count} with status {status}" for status, count in counts.items())
            paragraphs.append(f"{name} gave answers that were not expected: {answers}")
        first, *others = (textwrap.fill(paragraph, WIDTH) for paragraph in paragraphs)
        return [first, *tables, "", *others]

    def document(self) -> dict[str, object]:
        """Return all figures as a document."""
        rows = self.results.rows | self.served.rows
        return {"date": f"{datetime.now(UTC).date()}", "versions": self.versions, "machine": machine(), "rows": rows}


def machine() -> str:
    """Return what this machine is: the name of its processor, and its number of cores."""
    names = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{names[0] if names else 'unknown processor'}, {len(names)} cores"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure this alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few rounds: about a minute in all")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--seconds", type=int, default=2, help="of each load; default: 2")
    parser.add_argument("--caddy", default="caddy", help="the program, if it is not the one on PATH")
    parser.add_argument("--bare", action="store_true", help="compare with a Caddy without access log and metrics")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="of facaded; default: this one")
    parser.add_argument("--nice", type=int, default=0, help="niceness of all processes, such as -10 if others are busy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures of all rounds into this file")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    parser.add_argument("--imports", action="store_true", help="show only what facaded imports at its start")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = QUICK_ROUNDS, QUICK_SECONDS
    return options


def main() -> int:
    arguments = parse_arguments()
    server_core, load_core, *_ = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {load_core})
    os.nice(arguments.nice)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers stop too
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facaded-peers-")))
        scene = Scene(directory, "", Authority().write(directory / "tls", NAME))
        backend = backend_registry(scene, "127.0.0.2")
        stack.callback(backend.stop)
        backend.start(load_core)
        scene = evolve(scene, backend=backend.url)
        comparison = Comparison(scene, arguments.checkout, arguments.caddy, arguments.bare)
        if arguments.imports:
            print("\n".join(measure_imports(comparison.auto, server_core)))
            return 0
        pulls = QUICK_PULLS if arguments.quick else FULL_PULLS
        options = Options(arguments.rounds, arguments.seconds, pulls, server_core, load_core)
        bench = Bench(options, comparison.results, lambda line: print(line, file=sys.stderr, flush=True))
        for name in arguments.only or MEASUREMENTS:
            comparison.measure(name, bench)
    layout = to_markdown if arguments.markdown else align
    print("\n".join(comparison.report(bench.unexpected, layout)))
    if arguments.json:
        arguments.json.write_text(json.dumps(comparison.document(), indent=1))
    return 1 if bench.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
