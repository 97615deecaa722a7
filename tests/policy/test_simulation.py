"""The simulated hours, with fewer runs than the table: when the main registry is left, and how often that changes.

`tests/process/test_simulation.py` simulates whole days.
"""

import pytest

from tests.policy.simulation import ROWS, left_after, percentile

RUNS = 12

RUNS_FOR_95_PERCENT = 40

BY_TITLE = {row.title: row for row in ROWS}


@pytest.mark.parametrize(
    ("title", "median", "most"),
    [
        ("CDN 40 %, a blob a second", 60, 120),
        ("CDN 20 %, a blob a second", 180, None),
        ("CDN 40 %, idle", 180, None),
    ],
)
def test_a_brown_out_of_the_cdn_is_left(title: str, median: float, most: float | None) -> None:
    row = BY_TITLE[title]
    runs = row.simulate(RUNS if most is None else RUNS_FOR_95_PERCENT)
    times = left_after(runs, row.fault.start)
    assert percentile(times, 0.5) <= median
    if most is not None:
        assert percentile(times, 0.95) <= most
        hour = row.seconds - row.fault.start
        assert sum(run.active_time - row.fault.start for run in runs) / len(runs) / hour < 0.05


def test_an_idle_healthy_backend_gets_no_more_requests_than_before() -> None:
    """Before: 3 for each of 6 probes a minute, and 2 more for the blob once a minute; waits are up to 10 % shorter."""
    row = BY_TITLE["healthy, idle"]
    runs = row.simulate(4)
    assert sum(run.requests for run in runs) / len(runs) / row.seconds * 60 <= 20 / 0.95
    assert [run.changes for run in runs] == [[]] * 4
