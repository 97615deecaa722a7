"""Simulated days of a registry that fails a few of its requests. They take too long for a quick run of the tests."""

import statistics

import pytest

from tests.policy.simulation import ROWS

RUNS = 5

BY_TITLE = {row.title: row for row in ROWS}


@pytest.mark.parametrize("traffic", ["a blob a second", "idle"])
def test_ten_percent_of_everything_causes_two_changes_a_day_at_most(traffic: str) -> None:
    runs = BY_TITLE[f"10 % of everything, {traffic}"].simulate(RUNS)
    assert statistics.median(len(run.changes) for run in runs) <= 2


@pytest.mark.parametrize("traffic", ["a blob a second", "idle"])
def test_three_percent_of_everything_causes_no_change(traffic: str) -> None:
    assert [run.changes for run in BY_TITLE[f"3 % of everything, {traffic}"].simulate(RUNS)] == [[]] * RUNS


def test_every_tenth_probe_slow_causes_no_change() -> None:
    assert [run.changes for run in BY_TITLE["every tenth probe slow"].simulate(RUNS)] == [[]] * RUNS
