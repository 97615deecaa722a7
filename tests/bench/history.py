"""The cost of the history: `python -m tests.bench.history`, on a machine that does nothing else.

First, 10 million requests of 100 days are simulated in this process, with the real thread and file: pulls of Docker,
containerd and Podman of a few hundred tags, and in between tags that strangers make up. The largest size of the
directory and the growth of memory are printed, and how long a request takes to be counted.

Then two daemons answer wrk in turn, one with the history and one without: each request asks for another repository,
which is the worst case. Printed are the latency that 99 % of the answers are within and the CPU time of a request, as
medians over all rounds. A round compares loads of a second that follow each other, because what else happens on a
virtual machine changes both for longer than that; new daemons are started for every 10 rounds. What counts is the
median of these ratios, printed with the quartiles. The exit status is 1 if a goal is missed. Needs wrk and nginx.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import TypeAlias

from attrs import define, evolve, field

from facaded.admin.request_metrics import RequestCounts
from facaded.history.past import DAY, HistoryPlace
from facaded.history.recorder import INTERVAL, RecordedParts, Recorder
from facaded.oci.clients import find_client
from facaded.web.answer_batches import BATCH
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome
from facaded.web.pulls import Pulls
from tests.bench.redirectors import NAME, ROOT, Scene, backend_registry, facaded
from tests.bench.servers_under_load import Server, pinned
from tests.bench.wrk import CONNECTIONS, SCRIPT
from tests.history.recording import NOON, ThreadedClock
from tests.tls.authority import Authority

DAYS = 100

SIZE = 50 << 20
"""The default of history.size."""

MOST_GROWTH = 30 << 20
"""Bytes that memory may grow by after a tenth of the requests: SQLite's cache and the tables of clients fill slowly."""

MOST_SLOWER = 1.05
"""The 99th percentile with the history, as a ratio to the one without."""

ROUNDS_OF_A_PAIR = 10
"""Rounds until new daemons are started: two of the same kind may differ by more than the goal as long as they run."""

STRANGERS = 0.05
"""Part of the pulls that ask for a tag that does not exist."""

PAGE = 4096


@define
class Simulation:
    """Requests of many clients, in the order of their answers."""

    random: Random = field(factory=lambda: Random(18))
    clients: Sequence[str] = ("docker", "containerd", "podman", "crane", "buildkit")
    at: float = NOON

    def pull(self) -> Iterator[AnsweredRequest]:
        random, name = self.random, self.random.choice(self.clients)
        way = Outcome.SERVED if name in ("podman", "crane") else Outcome.REDIRECTED
        status = 200 if way is Outcome.SERVED else 307
        address, repository = f"192.0.2.{random.randrange(250)}", f"org/app-{random.randrange(40)}"
        tag = f"v{random.randrange(20)}" if random.random() > STRANGERS else f"made-up-{random.getrandbits(64):x}"
        steps = [("HEAD", Kind.MANIFEST, tag)]
        digest = f"sha256:{hash((repository, tag)) & 0xFFFF_FFFF:064x}"
        steps += [("GET", Kind.MANIFEST, digest), ("GET", Kind.MANIFEST, f"sha256:{hash(digest) & 0xFFFF_FFFF:064x}")]
        steps += [("GET", Kind.BLOB, f"sha256:{number:064x}") for number in range(random.randrange(2, 12))]
        client = find_client(name)
        for method, kind, reference in steps:
            decision = Decision(kind, way, "main", repository, reference)
            yield AnsweredRequest(address, method, "/v2/", client, decision, status, 0, 0.001, self.at)


def measure_memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def simulate(count: int, directory: Path) -> bool:
    """Simulate so many requests, print what they took, and return whether the goals were reached."""
    reactor, pulls, requests = ThreadedClock(), Pulls(), RequestCounts(["main"])
    simulation, place = Simulation(), HistoryPlace(directory, 90, SIZE)
    parts = RecordedParts(pulls.counts, requests)
    recorder = Recorder(reactor, lambda: simulation.at, parts, place)  # type: ignore[arg-type]
    recorder.startService()
    directory.mkdir(exist_ok=True)
    step = DAYS * DAY / (count / BATCH)
    largest = memory = 0
    seconds = 0.0
    for number in range(count // BATCH):
        batch: list[AnsweredRequest] = []
        while len(batch) < BATCH:
            batch += simulation.pull()
        began = time.perf_counter()
        pulls.count(batch)
        seconds += time.perf_counter() - began
        requests.note(batch)
        simulation.at += step
        reactor.advance(INTERVAL)
        while recorder._is_writing:
            reactor.run_call()
        largest = max(largest, sum(path.stat().st_size for path in directory.iterdir()))
        if number == count // BATCH // 10:
            memory = measure_memory()
    growth = measure_memory() - memory
    closed = recorder.stopService()
    while not closed.called:
        reactor.run_call()
    left = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{count:,} requests in {DAYS} simulated days: {seconds / count * 1e6:.2f} us each to count pulls")
    print(f"directory: {largest / 1e6:.1f} MB at most, {left / 1e6:.1f} MB at the end, allowed {SIZE / 1e6:.1f} MB")
    print(
        f"memory: grew by {growth / 1e6:.1f} MB after the first tenth, allowed {MOST_GROWTH / 1e6:.1f} MB", flush=True
    )
    return largest <= SIZE and growth <= MOST_GROWTH


def load(server: Server, core: int, seconds: int) -> tuple[float, float]:
    """Return the milliseconds that 99 % of the answers are within, and the server's CPU time for each in us."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(SCRIPT), server.url]
    server.wake()
    cpu = server.cpu_seconds()
    with pinned(core):
        run = subprocess.run([*command, "--", "10000", "20"], capture_output=True, text=True, timeout=99, check=True)
    cpu = server.cpu_seconds() - cpu
    match = re.search(r"99%\s+([0-9.]+)(us|ms|s)", run.stdout)
    requests = re.search(r'"requests": (\d+)', run.stdout)
    assert match is not None, run.stdout
    assert requests is not None, run.stdout
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]], cpu / int(requests[1]) * 1e6


Pair: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
"""What `load` returns with the history and without it."""


def measure(rounds: int, seconds: int, directory: Path) -> list[Pair]:
    """Measure so many rounds of a new pair of daemons."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        scene = Scene(directory, "", Authority().write(directory / "tls", NAME))
        backend = backend_registry(scene, "127.0.0.2")
        stack.callback(backend.stop)
        backend.start(cores[-1])
        servers = []
        for number, days in enumerate((90, 0)):
            own = evolve(scene, directory=directory / f"{days}-days", backend=backend.url)
            own.directory.mkdir()
            servers.append(facaded(own, f"127.0.0.{10 + number}", ROOT, "auto"))
            with Path(servers[-1].command[-1]).open("a") as settings:
                settings.write(f"\n[history]\ndays = {days}\n")
            stack.callback(servers[-1].stop)
            servers[-1].start(cores[0])
        pairs = []
        for turn in range(rounds):
            figures = {
                index: load(servers[index], cores[-1], seconds) for index in sorted((0, 1), reverse=turn % 2 == 0)
            }
            pairs.append((figures[0], figures[1]))
    return pairs


def compare(rounds: int, seconds: int, directory: Path) -> bool:
    """Measure daemons with and without history, print the figures, and return whether the goal was reached."""
    pairs: list[Pair] = []
    for pair in range(-(-rounds // ROUNDS_OF_A_PAIR)):
        own = directory / f"pair-{pair}"
        own.mkdir()
        pairs += measure(min(ROUNDS_OF_A_PAIR, rounds - len(pairs)), seconds, own)
    for name, rows in zip(("with history", "without"), zip(*pairs, strict=True), strict=True):
        slow, cpu = (median(row[index] for row in rows) for index in (0, 1))
        print(f"{name}: 99 % within {slow:.2f} ms, {cpu:.2f} us of CPU time for a request")
    ratios = [[on / off for on, off in zip(*pair, strict=True)] for pair in pairs]
    (least, slower, most), cpu_ratios = (quantiles(part) for part in zip(*ratios, strict=True))
    print(f"ratio of CPU times: {cpu_ratios[1]:.3f} ({cpu_ratios[0]:.3f} to {cpu_ratios[2]:.3f})")
    print(f"ratio of the 99th percentiles: {slower:.3f} ({least:.3f} to {most:.3f}), allowed {MOST_SLOWER}")
    return bool(slower <= MOST_SLOWER)


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.bench.history", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000, help="simulated requests; default: 10,000,000")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of wrk, 0 for none; default: 60")
    parser.add_argument("--seconds", type=int, default=1, help="seconds of each load; default: 1")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="facaded-history-") as directory:
        is_bounded = simulate(options.requests, Path(directory) / "state")
        is_fast = options.rounds == 0 or compare(options.rounds, options.seconds, Path(directory))
    return 0 if is_bounded and is_fast else 1


if __name__ == "__main__":
    sys.exit(main())
