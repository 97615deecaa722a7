"""What a CA suggests for renewals, and how often it is asked."""

import pytest

from facaded.tls.acme.schedule import DAY, HOUR, WEEK
from tests.tls.acme.memory import EPOCH, Begin, Documented
from tests.tls.acme.test_schedule import most_within


def test_a_certificate_is_renewed_when_its_ca_suggests_it_and_says_what_it_replaces(
    begin: Begin, log: list[str]
) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    old = serving.certificate
    assert old is not None
    assert EPOCH + 10 * DAY <= serving.status["next_renewal"] <= EPOCH + 11.01 * DAY
    assert serving.status["suggested_because"] == "https://example.com/why"
    assert [line for line in log if "https://example.com/why" in line]
    assert "replaces" not in serving.ca.last("order")
    serving.ca.window = (-2 * DAY, -DAY)  # all of a sudden: now
    serving.network.pass_time(7 * HOUR)
    assert serving.certificate == old, "but not at once after the last"
    serving.network.pass_time(2 * DAY)
    assert serving.certificate != old
    assert serving.ca.last("order")["replaces"] == old.identifier


def test_a_ca_that_always_suggests_to_renew_now_is_not_believed_for_ever(begin: Begin) -> None:
    serving = begin()
    serving.ca.window = (-2 * DAY, -DAY)
    serving.start()
    serving.network.sleep(30 * DAY)
    assert most_within(serving.ca.made, WEEK) <= 5


def test_a_ca_is_asked_for_its_window_as_often_as_it_says(begin: Begin) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    before = serving.ca.asked.count("info")
    serving.network.pass_time(DAY)
    assert serving.ca.asked.count("info") - before == 4


@pytest.mark.parametrize("answer", [(500, {}, b""), (200, {}, {}), (200, {}, {"suggestedWindow": {"start": "x"}})])
def test_without_good_renewal_information_a_third_of_the_life_counts(begin: Begin, answer: Documented) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.ca.faults["info"] = answer
    serving.start()
    assert serving.status["next_renewal"] == pytest.approx(EPOCH + 59 * DAY, abs=DAY)


@pytest.mark.parametrize("status", [409, 403, 400])
def test_a_ca_that_does_not_want_to_hear_what_is_replaced_gives_a_certificate_all_the_same(
    begin: Begin, status: int
) -> None:
    serving = begin()
    serving.ca.window = (10 * DAY, 11 * DAY)
    serving.start()
    old = serving.certificate

    serving.ca.replaced = status
    serving.acme.renew()
    serving.network.pass_time(30)
    assert serving.certificate != old
    assert "replaces" not in serving.ca.last("order")
