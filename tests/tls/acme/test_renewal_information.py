"""The renewal time that a CA suggests, and how often it is fetched."""

import pytest

from facaded.tls.acme.schedule import DAY, HOUR, WEEK
from tests.tls.acme.memory import EPOCH, CreateHarness, Documented
from tests.tls.acme.test_schedule import most_within


def test_a_certificate_is_renewed_when_its_ca_suggests_it_and_the_order_names_the_old_one(
    create: CreateHarness, log: list[str]
) -> None:
    harness = create()
    harness.ca.window = (10 * DAY, 11 * DAY)
    harness.start()
    old = harness.certificate
    assert old is not None
    assert EPOCH + 10 * DAY <= harness.status["next_renewal"] <= EPOCH + 11.01 * DAY
    assert harness.status["suggested_because"] == "https://example.com/why"
    assert [line for line in log if "https://example.com/why" in line]
    assert "replaces" not in harness.ca.last("order")
    harness.ca.window = (-2 * DAY, -DAY)  # suddenly: now
    harness.network.pass_time(7 * HOUR)
    assert harness.certificate == old, "not immediately after the last renewal"
    harness.network.pass_time(2 * DAY)
    assert harness.certificate != old
    assert harness.ca.last("order")["replaces"] == old.identifier


def test_a_ca_that_always_suggests_to_renew_now_is_not_followed_every_time(create: CreateHarness) -> None:
    harness = create()
    harness.ca.window = (-2 * DAY, -DAY)
    harness.start()
    harness.network.sleep(30 * DAY)
    assert most_within(harness.ca.issued, WEEK) <= 5


def test_renewal_information_is_fetched_as_often_as_the_ca_allows(create: CreateHarness) -> None:
    harness = create()
    harness.ca.window = (10 * DAY, 11 * DAY)
    harness.start()
    before = harness.ca.requests.count("info")
    harness.network.pass_time(DAY)
    assert harness.ca.requests.count("info") - before == 4


@pytest.mark.parametrize("response", [(500, {}, b""), (200, {}, {}), (200, {}, {"suggestedWindow": {"start": "x"}})])
def test_without_valid_renewal_information_a_third_of_the_validity_is_left(
    create: CreateHarness, response: Documented
) -> None:
    harness = create()
    harness.ca.window = (10 * DAY, 11 * DAY)
    harness.ca.faults["info"] = response
    harness.start()
    assert harness.status["next_renewal"] == pytest.approx(EPOCH + 59 * DAY, abs=DAY)


@pytest.mark.parametrize("status", [409, 403, 400])
def test_an_order_whose_replaces_is_refused_is_sent_again_without_it(create: CreateHarness, status: int) -> None:
    harness = create()
    harness.ca.window = (10 * DAY, 11 * DAY)
    harness.start()
    old = harness.certificate
    harness.ca.replaces_status = status
    harness.acme.renew()
    harness.network.pass_time(30)
    assert harness.certificate != old
    assert "replaces" not in harness.ca.last("order")
