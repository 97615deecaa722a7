"""Which failures of orders an operator is notified of: the first in a row, and what keeps orders from starting."""

from collections.abc import Iterator

import pytest

from facaded.policy.events import EventKind
from facaded.tls.acme.schedule import DAY, HOUR, MINUTE
from facaded.tls.acme.store import AcmeStore
from tests.log_lines import log_lines
from tests.tls.acme.memory import CLOSED, NAME, CreateHarness


@pytest.fixture
def troubles() -> Iterator[list[str]]:
    """The lines of the log that are notified."""
    with log_lines(lambda event: event.get("event_kind") is EventKind.CERTIFICATE_TROUBLE) as lines:
        yield lines


def test_only_the_first_failed_order_in_a_row_is_trouble(create: CreateHarness, troubles: list[str]) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start(2 * HOUR)
    assert harness.status["attempts"] > 1
    (line,) = troubles
    assert line.startswith(f"{NAME}: no certificate obtained: ")
    harness.ca.refusal = None
    harness.network.sleep(DAY)
    harness.network.pass_time(10 * MINUTE)
    assert harness.certificate is not None
    harness.network.sleep(57 * DAY)
    harness.ca.refusal = CLOSED
    while harness.status["error"] is None:
        harness.network.pass_time(HOUR)
    assert len(troubles) == 2, "the renewal fails"


def test_a_directory_that_cannot_be_written_is_trouble(create: CreateHarness, troubles: list[str]) -> None:
    harness = create()
    harness.directory.parent.joinpath("acme").write_text("not a directory")
    harness.start(5 * MINUTE)
    (line,) = troubles
    assert "certificates cannot be stored, so none is ordered" in line


def test_another_daemon_that_orders_is_no_trouble(create: CreateHarness, troubles: list[str]) -> None:
    harness = create()
    with AcmeStore(harness.directory, troubles.append).locked():
        harness.start(5 * MINUTE)
        assert harness.error == "another daemon with the same state.directory is ordering certificates"
    assert troubles == []
