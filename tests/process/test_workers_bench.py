"""The comparison of several processes with one: its figures, its goals, and how it tells processes apart."""

import pytest

from tests.bench.servers_under_load import Memory
from tests.bench.workers import Comparison, WorkSample, report

ONE = WorkSample([1000], [1.0])


def compared(several: WorkSample, memory: float = 30.0) -> Comparison:
    comparison = Comparison(2)
    for load in ("varied", "new connections"):
        comparison.add(load, ONE, several)
    comparison.memory["at the start"] = [(Memory(60, 70, 100), Memory(60 + memory, 125, 190))]
    return comparison


def test_the_figures_of_two_processes() -> None:
    sample = WorkSample([900, 1000], [1.25, 1.0])
    assert sample.efficiency == pytest.approx(1900 / 2.25)
    assert sample.throughput == pytest.approx(1000 / 1.25 + 900 / 1.0), "who answered most used most CPU time"
    assert sample.shares(2) == [pytest.approx(10 / 19), pytest.approx(9 / 19)]


def test_a_process_that_answers_nothing_has_no_share_and_no_throughput() -> None:
    sample = WorkSample([1000], [1.0, 0.1])
    assert sample.shares(2) == [1, 0]
    assert sample.throughput == 1000


def test_all_goals_are_met() -> None:
    assert compared(WorkSample([950, 950], [1.0, 1.0])).missed() == []


@pytest.mark.parametrize(
    ("sample", "memory", "rows"),
    [
        (
            WorkSample([800, 800], [1.0, 1.0]),
            30.0,
            [f"{load}: {what}" for load in ("varied", "new connections") for what in ("requests", "throughput")],
        ),
        (WorkSample([1100, 600], [1.0, 0.6]), 30.0, ["% of connections, largest", "% of connections, smallest"]),
        (WorkSample([950, 950], [1.0, 1.0]), 41.0, ["MiB of a further process at the start, USS"]),
    ],
)
def test_a_goal_that_is_missed_has_a_sentence(sample: WorkSample, memory: float, rows: list[str]) -> None:
    missed = compared(sample, memory).missed()
    assert len(missed) == len(rows)
    assert all(sentence.startswith(row) for sentence, row in zip(missed, rows, strict=True)), missed


def test_the_report_names_answers_that_were_not_expected() -> None:
    lines = report(compared(WorkSample([950, 950], [1.0, 1.0])), {("facaded-auto-2", 503): 2})
    assert lines[-1] == "2 answers of facaded-auto-2 had the status 503"
    assert any(line.startswith("varied: throughput") and "1.70 to" in line for line in lines)
