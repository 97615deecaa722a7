"""Simulated days of failures at a CA in memory. They take too long for a quick run of the tests."""

from pathlib import Path

import pytest

from facaded.tls.acme.schedule import DAY, HOUR, WEEK
from tests.tls.acme.memory import CLOSED, AcmeHarness, repair
from tests.tls.acme.test_schedule import most_within


@pytest.mark.parametrize("fault", ["closed", "download fails", "down", "flapping"])
def test_thirty_days_of_failures_stay_within_the_limits_of_a_ca(tmp_path: Path, fault: str) -> None:
    harness = AcmeHarness.create(tmp_path)
    ca = harness.ca
    ca.refusal = CLOSED if fault == "closed" else None
    ca.down = fault == "down"
    if fault == "download fails":
        ca.faults["certificate"] = 404, {}, b""
    harness.start()
    for hour in range(30 * 24):
        if fault == "flapping":
            ca.refusal, ca.down = (CLOSED, False) if hour % 3 else (None, hour % 2 == 0)
            ca.faults.update({"certificate": (500, {}, b"")}) if hour % 7 else ca.faults.clear()
            harness.acme.renew()  # an impatient operator
        if hour % 24 == 5:
            harness.acme.stopService()
            harness.restart()
            harness.acme.startService()
        harness.network.pass_time(HOUR)
    assert most_within(ca.failed, HOUR) <= 5
    assert most_within(ca.issued, WEEK) <= 5
    if fault != "download fails":
        assert 100 < harness.network.request_count < 5000, "the attempts continue all the time"
    repair(harness)
    harness.network.sleep(8 * DAY if fault in ("download fails", "flapping") else 12 * HOUR)
    assert harness.certificate is not None
    harness.acme.stopService()
