"""Cores: `python -m tests.bench.workers` measures facaded with several processes beside facaded with one.

Both run at the same time, the one with one process on one core, and take turns: a round measures each of them once. The
load needs cores too, and a process that shares one with it finds less in its caches. So there is a load of its own on
each core, also beside the one process, and what counts is CPU time:

- requests per CPU second of all processes, as a ratio to those of one process: what sharing costs;
- throughput, as the same ratio: what the processes would answer in a second if each had a core for itself, by the
  requests and the CPU time of each;
- the share of new connections, one for each request, that each process answers;
- memory of each further process, at the start and after all loads.

Programs: wrk and nginx. Run it on a machine that does nothing else. The exit status is 1 if a goal is missed, or if an
answer was not the expected one.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from attrs import define, evolve, field, frozen

from tests.bench.clients import ROOT
from tests.bench.ratios import align, shorten
from tests.bench.redirectors import NAME, Scene, backend_registry, facaded
from tests.bench.servers_under_load import Memory, Server, pinned
from tests.bench.wrk import CLOSED, VARIED, Load
from tests.tls.authority import Authority

LOADS = (("varied", VARIED, False), ("TLS, varied", VARIED, True), ("new connections", CLOSED, False))
"""Name of the row, load, and whether it is over TLS."""

CONNECTION_LOAD = "new connections"

LEAST_EFFICIENCY = 0.85
"""Requests per CPU second, as a ratio to those of one process."""

LEAST_THROUGHPUT = 0.85
"""Throughput for each process, as a ratio to that of one process: 1.7 for two."""

LARGEST_DEVIATION = 0.2
"""How far the share of a process may be from that of all others: with two, each has 40 to 60 % of the connections."""

MOST_MEMORY = 40.0
"""MiB (USS) that the machine needs for each further process: the pages that others use too are there already."""

SETTLING = 1.0
"""Seconds until memory is measured."""


IDLE_WORK = "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nwhile True: pass"


@contextmanager
def without_idle_cores(cores: Sequence[int]) -> Iterator[None]:
    """Let each core compute while it has nothing else to do.

    Cores that share a processor's parts are slower if both have work, which one process alone would never see.
    """
    with ExitStack() as stack:
        for core in cores:
            with pinned(core):
                process = stack.enter_context(subprocess.Popen([sys.executable, "-c", IDLE_WORK]))
            stack.callback(process.kill)
        yield


@frozen
class WorkSample:
    """What a server did under a load: the requests that each process answered, and its CPU seconds for them."""

    answers: Sequence[float]
    cpu: Sequence[float]

    @property
    def efficiency(self) -> float:
        """Requests per CPU second of all processes."""
        return sum(self.answers) / sum(self.cpu)

    @property
    def throughput(self) -> float:
        """Requests a second if each process had a core for itself.

        The log does not say which process an answer is from, so the one that answered most is taken for the one that
        used most CPU time. A process that answered nothing adds nothing.
        """
        pairs = zip(sorted(self.answers, reverse=True), sorted(self.cpu, reverse=True), strict=False)
        return sum(answers / cpu for answers, cpu in pairs)

    def shares(self, processes: int) -> list[float]:
        """Return the part of the answers of each process, the largest one first."""
        answered = sorted(self.answers, reverse=True)
        return [count / sum(answered) for count in [*answered, *[0] * (processes - len(answered))]]


@define
class Comparison:
    """Rounds of one process beside several: for each load, a pair of samples for each round."""

    processes: int
    rounds: dict[str, list[tuple[WorkSample, WorkSample]]] = field(factory=dict)
    memory: dict[str, list[tuple[Memory, Memory]]] = field(factory=dict)

    def add(self, load: str, one: WorkSample, several: WorkSample) -> None:
        self.rounds.setdefault(load, []).append((one, several))

    def table(self) -> list[list[str]]:
        """Return the cells of a table: the goal, the median of the rounds, and the range."""
        rows = [["", "goal", "median", "least", "most"]]
        for name, goal, numbers in self._rows():
            rows.append([name, goal, *(shorten(one) for one in (median(numbers), min(numbers), max(numbers)))])
        return rows

    def missed(self) -> list[str]:
        """Return a sentence for each goal that the median of the rounds misses."""
        bounds = {name: goal.partition(" to ") for name, goal, _ in self._rows() if goal}
        sentences = []
        for name, _, numbers in self._rows():
            if name in bounds and not _meets(median(numbers), bounds[name]):
                sentences.append(f"{name}: {shorten(median(numbers))} misses the goal, {''.join(bounds[name])}")
        return sentences

    def _rows(self) -> list[tuple[str, str, list[float]]]:
        rows = []
        throughput = f"{LEAST_THROUGHPUT * self.processes:.2f} to "
        for load, samples in self.rounds.items():
            ratios = [several.efficiency / one.efficiency for one, several in samples]
            rows.append((f"{load}: requests per CPU second", f"{LEAST_EFFICIENCY:.2f} to ", ratios))
            rows.append(
                (f"{load}: throughput", throughput, [several.throughput / one.throughput for one, several in samples])
            )
        samples = self.rounds.get(CONNECTION_LOAD, [])
        shares = [several.shares(self.processes) for _, several in samples]
        even = 100 / self.processes
        goal = f"{even * (1 - LARGEST_DEVIATION):.0f} to {even * (1 + LARGEST_DEVIATION):.0f}"
        for name, index in (("largest", 0), ("smallest", -1)):
            if shares:
                rows.append((f"% of connections, {name} share", goal, [share[index] * 100 for share in shares]))
        for when, pairs in self.memory.items():
            for kind, goal in (("uss", f" to {MOST_MEMORY:.0f}"), ("pss", ""), ("rss", "")):
                further = [
                    (getattr(several, kind) - getattr(one, kind)) / (self.processes - 1) for one, several in pairs
                ]
                rows.append((f"MiB of a further process {when}, {kind.upper()}", goal, further))
        return rows


def _meets(number: float, bounds: tuple[str, str, str]) -> bool:
    least, _, most = bounds
    return (not least or number >= float(least)) and (not most or number <= float(most))


@define
class Bench:
    """Measures two servers into `comparison`.

    `unexpected` counts answers whose status was not the expected one, by the name of the server's directory.
    """

    comparison: Comparison
    cores: Sequence[int]
    seconds: int
    unexpected: Counter[tuple[str, int]] = field(factory=Counter)

    def round(self, one: Server, several: Server) -> None:
        """Measure both under each load."""
        for name, load, is_secure in LOADS:
            samples = []
            for server in (one, several):
                server.wake()
                server.count_answers()
                before = server.cpu_of_processes()
                url = server.secure_url if is_secure else server.url
                answers = self._load(load, url, self.cores[:1] if server is one else self.cores)
                after = server.cpu_of_processes()
                cpu = [after[pid] - before.get(pid, 0.0) for pid in after]
                logged = self._answers(server)  # lines may be lost
                samples.append(WorkSample([lines / sum(logged) * answers for lines in logged], cpu))
            self.comparison.add(name, *samples)
            sample = samples[1]
            shares = " ".join(f"{share * 100:.0f}" for share in sample.shares(self.comparison.processes))
            print(
                f"{name}: {shorten(samples[0].efficiency)} and {shorten(sample.efficiency)} requests per CPU second; "
                f"shares {shares} %",
                file=sys.stderr,
                flush=True,
            )

    def memory(self, when: str, one: Server, several: Server) -> None:
        """Measure the memory of all processes, when nothing is asked."""
        time.sleep(SETTLING)
        self.comparison.memory.setdefault(when, []).append((one.memory(), several.memory()))

    def _load(self, load: Load, url: str, cores: Sequence[int]) -> int:
        """Load a server from each of these cores at the same time; return the number of answers."""
        with ThreadPoolExecutor(len(cores)) as threads:
            return sum(rate.answers for rate in threads.map(lambda core: load.run(url, core, self.seconds), cores))

    def _answers(self, server: Server) -> list[int]:
        by_process: Counter[str] = Counter()
        for (status, beginning), answers in server.count_answers().items():
            by_process[beginning] += answers
            if status != server.expected:
                self.unexpected[server.directory.name, status] += answers
        return list(by_process.values())


def report(comparison: Comparison, unexpected: Mapping[tuple[str, int], int]) -> list[str]:
    """Return all lines to print."""
    answers = [f"{count} answers of {name} had the status {status}" for (name, status), count in unexpected.items()]
    return [*align(comparison.table()), *comparison.missed(), *answers]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.bench.workers", description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--seconds", type=int, default=2, help="of each load; default: 2")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="of facaded; default: this one")
    options = parser.parse_args()
    if options.workers < 2:
        parser.error("--workers: from 2 on, because they are compared with one")
    return options


def main() -> int:
    options = parse_arguments()
    cores = sorted(os.sched_getaffinity(0))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers stop too
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facaded-workers-")))
        scene = Scene(directory, "", Authority().write(directory / "tls", NAME))
        backend = backend_registry(scene, "127.0.0.2")
        stack.callback(backend.stop)
        backend.start(cores[-1])
        scene = evolve(scene, backend=backend.url)
        one = facaded(scene, "127.0.0.10", options.checkout, "auto")
        several = facaded(scene, "127.0.0.11", options.checkout, "auto", options.workers)
        bench = Bench(Comparison(options.workers), cores, options.seconds)
        for server, its_cores in ((one, cores[:1]), (several, cores)):
            stack.callback(server.stop)
            server.start(*its_cores)
        bench.memory("at the start", one, several)
        stack.enter_context(without_idle_cores(cores))
        for _ in range(options.rounds):
            bench.round(one, several)
            bench.memory("after the load", one, several)
    print("\n".join(report(bench.comparison, bench.unexpected)))
    return 1 if bench.comparison.missed() or bench.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
