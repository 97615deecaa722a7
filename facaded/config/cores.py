"""How many processes answer clients, by the settings and by the cores that this process may use."""

import os

from facaded.config.sections import Config

MOST_WORKERS = 64
"""Processes of one daemon at most: each holds every listening socket, and a part of the memory for manifests."""


def usable_cores() -> int:
    """Return the number of cores that this process may use, as `taskset`, `CPUAffinity=` or a cpuset restrict it.

    A quota of CPU time, such as `CPUQuota=` or that of a container, changes nothing: it names no cores.
    """
    return len(os.sched_getaffinity(0))


def count_workers(config: Config, cores: int) -> int:
    """Return the number of processes that answer clients, the first one included, on this number of cores."""
    return min(cores, MOST_WORKERS) if config.workers is None else config.workers
