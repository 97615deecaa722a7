"""A few simulated weeks of an ACME client with outages, kills and wrong clocks; for years, see `simulation`."""

from pathlib import Path

import pytest
from twisted.logger import LogEvent

from facaded.tls.acme.schedule import DAY, HOUR
from tests.tls.acme.simulation import Simulation


@pytest.mark.parametrize(
    ("life", "duration", "seed"), [(6 * HOUR, 6 * DAY, 1), (DAY, 15 * DAY, 2), (6 * DAY, 60 * DAY, 3)]
)
def test_no_certificate_lapses_if_the_ca_was_up_for_a_tenth_of_its_life(
    tmp_path: Path, life: float, duration: float, seed: int, no_errors_are_logged: list[LogEvent]
) -> None:
    tally = Simulation(tmp_path, life, duration, seed).run()
    no_errors_are_logged.clear()  # some are overdue, or have expired in a long outage
    assert tally.renewals > 5
    assert tally.lapses == []
    assert tally.extras_a_week < 5
    assert tally.failed_an_hour < 5
