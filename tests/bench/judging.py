"""Whether a daemon under load keeps its level: memory, descriptors and timers, from what was measured of it."""

from collections.abc import Sequence
from statistics import median

from attrs import frozen

MOST_GROWTH = 5 << 20
"""Bytes of resident memory that a daemon may take after its warm-up."""

WINDOW = 30.0
"""Seconds of samples whose median is a level of memory: single samples hold answers in flight."""

SPARE_DESCRIPTORS = 4
"""Descriptors more than at the start that are no leak: those of probes in progress."""

SPARE_TIMERS = 10
"""Timers more than at the start that are no leak: those of probes in progress and of idle backend connections."""

TRACEBACK_LINES = 40
"""Lines after the first one of a traceback that are shown."""


@frozen
class Sample:
    """What a process takes, `seconds` after the start: resident memory in bytes, and numbers of the others."""

    seconds: float
    memory: int
    descriptors: int
    threads: int
    timers: int


def memory_levels(samples: Sequence[Sample], warm_up: float) -> tuple[float, float]:
    """Return the bytes of memory after the warm-up and at the end. There must be samples after the warm-up."""
    warm = [sample for sample in samples if sample.seconds >= warm_up]
    end = warm[-1].seconds
    window = min(WINDOW, (end - warm_up) / 2)
    first = [sample.memory for sample in warm if sample.seconds <= warm[0].seconds + window]
    last = [sample.memory for sample in warm if sample.seconds >= end - window]
    return median(first), median(last)


def judge(samples: Sequence[Sample], quiet: Sample, warm_up: float) -> list[str]:
    """Return what has grown, as sentences; nothing if everything kept its level.

    `samples` are those under load, in order, the first one before it. `quiet` was taken after all clients had left.
    `warm_up` is in seconds.
    """
    problems = []
    start = samples[0]
    first, last = memory_levels(samples, warm_up)
    if last - first > MOST_GROWTH:
        problems.append(f"memory grew from {first / (1 << 20):.1f} to {last / (1 << 20):.1f} MiB after the warm-up")
    if quiet.descriptors > start.descriptors + SPARE_DESCRIPTORS:
        problems.append(f"{quiet.descriptors} descriptors are open, {start.descriptors} were at the start")
    if quiet.timers > start.timers + SPARE_TIMERS:
        problems.append(f"{quiet.timers} timers are set, {start.timers} were at the start")
    return problems


def find_errors(log: str) -> list[str]:
    """Return each traceback in a log, with the line before it."""
    lines = log.splitlines()
    return [
        "\n".join(lines[max(index - 1, 0) : index + TRACEBACK_LINES])
        for index, line in enumerate(lines)
        if "Traceback" in line
    ]
