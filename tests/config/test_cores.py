"""The number of processes that answer clients, by the settings and the cores, and the advice about it."""

import os

import pytest

from facaded.config.advice import advice
from facaded.config.cores import MOST_WORKERS, count_workers, usable_cores
from facaded.config.sections import Config


@pytest.mark.parametrize(
    ("workers", "cores", "number"),
    [(1, 8, 1), (2, 1, 2), (64, 2, 64), (None, 1, 1), (None, 8, 8), (None, 64, 64), (None, 65, MOST_WORKERS)],
)
def test_the_number_of_processes_is_that_of_the_settings_or_of_the_cores(
    workers: int | None, cores: int, number: int
) -> None:
    assert count_workers(Config(workers=workers), cores) == number


def test_only_the_cores_that_the_process_may_use_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


@pytest.mark.parametrize(
    ("workers", "cores", "warning"),
    [
        (
            3,
            2,
            'workers: 3 processes share 2 cores, which only costs memory: set it to "auto", which is one process for '
            "each core",
        ),
        (
            2,
            1,
            'workers: 2 processes share one core, which only costs memory: set it to "auto", which is one process for '
            "each core",
        ),
        (2, 2, None),
        (1, 1, None),
        (None, 100, None),
    ],
)
def test_more_processes_than_cores_are_worth_a_warning(workers: int | None, cores: int, warning: str | None) -> None:
    warnings = [one for one in advice(Config(workers=workers), cores) if one.startswith("workers")]
    assert warnings == ([warning] if warning else [])
