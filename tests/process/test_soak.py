"""The soak: a short one passes, and what leaks would be found."""

import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from tests.bench.judging import MOST_GROWTH, SPARE_DESCRIPTORS, SPARE_TIMERS, Sample, find_errors, judge

ROOT = Path(__file__).parents[2]

WARM_UP = 120.0

START = Sample(seconds=0, memory=50 << 20, descriptors=12, threads=1, timers=3)

LOADED = [START, *(Sample(float(second), 64 << 20, 300, 1, 250) for second in range(1, 1200))]

QUIET = evolve(START, seconds=1200, memory=64 << 20)


def test_a_short_soak_prints_a_line_for_each_interval_and_ends_with_0() -> None:
    command = [sys.executable, "-m", "tests.bench.soak", "--minutes", "0.25", "--rate", "5", "--line", "4"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    headings, *lines = run.stdout.splitlines()
    assert headings.split()[:4] == ["time", "ok", "failed", "refused"]
    assert [line.split()[0] for line in lines[:3]] == ["0:04", "0:08", "0:12"]
    assert all(len(line) <= 80 for line in run.stdout.splitlines())
    (total,) = [line for line in lines if line.startswith("pulls: ")]
    assert int(total.split()[1]) > 0


def test_a_level_that_is_kept_is_no_problem() -> None:
    assert judge(LOADED, QUIET, WARM_UP) == []


def test_memory_that_grows_before_the_end_of_the_warm_up_is_no_problem() -> None:
    growing = [evolve(sample, memory=int(sample.seconds) << 20) for sample in LOADED if sample.seconds <= WARM_UP]
    assert judge([START, *growing, *LOADED[121:]], QUIET, WARM_UP) == []


def test_one_sample_with_much_memory_is_no_problem() -> None:
    assert judge([*LOADED, evolve(LOADED[-1], memory=900 << 20)], QUIET, WARM_UP) == []


def test_memory_that_grows_slowly_is_found() -> None:
    leaking = [evolve(sample, memory=int(sample.memory + sample.seconds * MOST_GROWTH / 1000)) for sample in LOADED]
    (problem,) = judge(leaking, QUIET, WARM_UP)
    assert problem == "memory grew from 64.7 to 69.9 MiB after the warm-up"


@pytest.mark.parametrize(
    ("left", "problem"),
    [
        ({"descriptors": 12 + SPARE_DESCRIPTORS + 1}, "17 descriptors are open, 12 were at the start"),
        ({"timers": 3 + SPARE_TIMERS + 1}, "14 timers are set, 3 were at the start"),
    ],
)
def test_what_is_left_when_all_clients_have_gone_is_found(left: dict[str, int], problem: str) -> None:
    assert judge(LOADED, evolve(QUIET, **left), WARM_UP) == [problem]


def test_a_traceback_is_found_with_the_line_before_it() -> None:
    log = "started\nUnhandled error in Deferred\nTraceback (most recent call last):\nValueError: x\n"
    assert find_errors(log) == ["Unhandled error in Deferred\nTraceback (most recent call last):\nValueError: x"]
    assert find_errors("started\nstopped\n") == []
