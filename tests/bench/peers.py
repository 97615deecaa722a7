"""Speed: `python -m tests.bench.peers` measures facaded, Caddy, nginx and HAProxy side by side.

Each server is pinned to one core, and the load to another one.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from attrs import define

from tests.bench.ratios import Results
from tests.bench.redirectors import NAME, Scene, caddy, facaded, haproxy, nginx
from tests.bench.servers_under_load import Server
from tests.bench.wrk import CLOSED, REPEATED, VARIED, Load
from tests.process.daemon import Registry
from tests.tls.authority import Authority

SERVER_CORE, LOAD_CORE = 0, 1


@define
class Bench:
    repeated: list[Server]
    varied: list[Server]
    results: Results
    rounds: int
    seconds: int
    say: Callable[[str], None]

    def redirects(self, row: str, servers: list[Server], load: Load, tls: bool) -> None:
        for number in range(self.rounds):
            for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
                rate = load.run(server.secure_url if tls else server.url, LOAD_CORE, self.seconds)
                self.results.add(row, server.name, rate)
                counts = server.count_statuses()
                others = {status: count for status, count in counts.items() if status != server.expected}
                self.say(f"{row}, round {number + 1}: {server.name} {rate:,.0f} {others or ''}")

    def plain(self) -> None:
        self.redirects("plain, one request", self.repeated, REPEATED, False)
        self.redirects("plain, varied", self.varied, VARIED, False)

    def tls(self) -> None:
        self.redirects("TLS, one request", self.repeated, REPEATED, True)
        self.redirects("TLS, varied", self.varied, VARIED, True)

    def connections(self) -> None:
        self.redirects("new plain connections", self.varied, CLOSED, False)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--only", action="append", choices=("plain", "tls", "connections"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--caddy", default="caddy")
    parser.add_argument("--checkout", type=Path, default=Path.cwd())
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facaded-peers-")))
        files = Authority().write(directory / "tls", NAME)
        registry = Registry("127.0.0.2").start()
        stack.callback(registry.stop)
        scene = Scene(directory, registry.url, files)
        peers = [
            caddy(scene, options.caddy, "127.0.0.11"), nginx(scene, "127.0.0.12"), haproxy(scene, "127.0.0.13")
        ]
        own = facaded(scene, "redirect", "127.0.0.10", options.checkout)
        own_auto = facaded(scene, "auto", "127.0.0.14", options.checkout)
        for server in [own, own_auto, *peers]:
            stack.callback(server.stop)
            print(server.name, server.version, f"{server.start(SERVER_CORE):.2f} s", flush=True)
        results = Results("Caddy")
        bench = Bench([own, *peers], [own_auto, *peers], results, options.rounds, options.seconds, lambda line: print(line, flush=True))
        for name in options.only or ("plain", "tls", "connections"):
            getattr(bench, name)()
        print("\n".join(["", *results.ratios(), "", *results.medians()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
