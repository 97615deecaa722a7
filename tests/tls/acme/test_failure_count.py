"""How often a certificate could not be obtained, for the metrics."""

from facaded.tls.acme.schedule import HOUR
from tests.tls.acme.memory import CLOSED, CreateHarness, repair


def test_each_failed_attempt_counts_until_the_daemon_ends(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start(HOUR)
    failures = harness.acme.failures.count
    assert failures == harness.status["attempts"] > 1
    repair(harness)
    harness.network.pass_time(6 * HOUR)
    assert harness.certificate is not None
    assert harness.status["attempts"] == 0, "those in a row"
    assert harness.acme.failures.count >= failures


def test_an_attempt_that_succeeds_is_no_failure(create: CreateHarness) -> None:
    assert create().start().acme.failures.count == 0
