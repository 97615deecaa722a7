"""Evidence: `python -m tests.bench.evidence` measures what checks cost, with the default settings and long times.

Registries answer after `--delay` seconds. The phases: idle, then 1 and 100 pulls a second, each for `--seconds`; then,
after an idle time, a stampede. For each phase there is a line with how long the facade's answers took, and a line for
each registry with what the facade asked of it a minute. `--checkout` measures another checkout of facaded.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.counts import Counts
from tests.process.replay import Answer
from tests.process.stampedes import stampede
from tests.process.streams import Scene, count_kinds, scene, stream

RATES = (1.0, 100.0)
"""Pulls a second of the phases with pulls."""

SLOW_PROBES = 'timeout = "{timeout:.1f}s"'
"""Health settings for slow registries: a probe asks three times, one after the other."""

SHORTEST_TIMEOUT = 3.0
"""The default timeout of a probe in seconds."""


def describe_answers(answers: Sequence[Answer]) -> str:
    """Return how many answers of each status there are, and the milliseconds that they took."""
    if not answers:
        return "no requests"
    milliseconds = Counts(latencies=[answer.seconds * 1000 for answer in answers])
    statuses = sorted({answer.status for answer in answers})
    numbers = ", ".join(f"{sum(answer.status == status for answer in answers)} x {status}" for status in statuses)
    longest = max(milliseconds.latencies)
    return f"{numbers}; median {milliseconds.median:.1f} ms, 99 % {milliseconds.slow:.0f} ms, longest {longest:.0f} ms"


def describe_requests(stage: Scene, began: float, *, in_all: bool = False) -> list[str]:
    """Return a line for each registry: requests of the facade since `began`, a minute or `in_all`, by kind."""
    minutes = 1.0 if in_all else (time.monotonic() - began) / 60
    lines = []
    for registry in (stage.main, stage.second):
        counts = count_kinds(registry.requests(facade=True, since=began))
        numbers = ", ".join(f"{kind} {count / minutes:.0f}" for kind, count in sorted(counts.items())) or "none"
        lines.append(f"    {registry.name}: {numbers}")
    return lines


def run(stage: Scene, seconds: float, idle: float, clients: int) -> None:
    """Run all phases and print their lines; times are in seconds."""
    first = 0
    for rate in (0.0, *RATES):
        began = time.monotonic()
        answers = stream(stage, rate, seconds, first) if rate else []
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        first += round(rate * seconds)
        print(f"{rate:g} pulls a second: {describe_answers(answers)}; requests a minute:", flush=True)
        print("\n".join(describe_requests(stage, began)), flush=True)
    time.sleep(idle)
    began = time.monotonic()
    answers = stampede(stage, clients, first)
    print(f"{clients} requests at once after {idle:g} s: {describe_answers(answers)}; requests in all:")
    print("\n".join(describe_requests(stage, began, in_all=True)))
    states = ", ".join(f"{backend['name']} {backend['state']}" for backend in stage.facade.status()["backends"])
    print(f"at the end: {states}; was called down {stage.facade.log.count('is down')} times")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.evidence", description=__doc__)
    parser.add_argument("--delay", type=float, default=0.3, help="seconds until a registry answers; default: 0.3")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of a phase; default: 60")
    parser.add_argument("--idle", type=float, default=60.0, help="idle seconds before the stampede; default: 60")
    parser.add_argument("--clients", type=int, default=5000, help="requests of the stampede; default: 5000")
    parser.add_argument("--checkout", type=Path, default=Path.cwd(), help="of facaded; default: this one")
    options = parser.parse_args()
    health = SLOW_PROBES.format(timeout=max(SHORTEST_TIMEOUT, 4 * options.delay))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the clients of the stampede are connected all at once
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="facaded-evidence-"))
        stage = stack.enter_context(scene(Path(directory), health, options.checkout))
        stage.set_delay(options.delay)
        run(stage, options.seconds, options.idle, options.clients)


if __name__ == "__main__":
    main()
