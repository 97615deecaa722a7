"""Daemons of tests with several processes: with FACADED_TEST_WORKERS=2, each has `workers = 2` in its settings."""

import os
import re
from pathlib import Path

VARIABLE = "FACADED_TEST_WORKERS"


def workers_of_tests() -> int:
    """Return the number of processes that daemons of tests have unless their settings say otherwise."""
    return int(os.environ.get(VARIABLE) or 1)


def with_workers(settings: str) -> str:
    """Add the number of processes to settings that do not name one: before the first table, where top-level keys end.

    Lines before it keep their numbers, because messages about mistakes name them.
    """
    if workers_of_tests() == 1 or re.search(r"^\s*workers\s*=", settings, re.MULTILINE):
        return settings
    table = re.search(r"^\s*\[", settings, re.MULTILINE)
    place = table.start() if table else len(settings)
    return f"{settings[:place]}\nworkers = {workers_of_tests()}\n{settings[place:]}"


def living(group: int) -> list[int]:
    """Return the processes of a process group that have not ended."""
    pids = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            state, _, process_group = (directory / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(process_group) == group and state != "Z":
            pids.append(int(directory.name))
    return pids
