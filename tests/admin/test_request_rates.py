"""Requests a second over the last minute."""

from twisted.internet.task import Clock

from facaded.admin.request_metrics import RequestCounts
from facaded.admin.request_rates import RequestRate, RequestRates
from facaded.net.histograms import Histogram
from facaded.oci.clients import Family
from facaded.web.answered_requests import Kind, Outcome


def answered(counts: RequestCounts, number: int, backend: str = "main", outcome: Outcome = Outcome.REDIRECTED) -> None:
    """Count requests, as another process does that reports them."""
    histogram = Histogram()
    for _ in range(number):
        histogram.observe(0.001)
    counts.add((Kind.MANIFEST, outcome, 307, Family.DOCKER, backend), histogram)


def test_rates_are_those_of_the_last_minute() -> None:
    clock, counts = Clock(), RequestCounts(["main", "second"])
    flushed: list[float] = []
    rates = RequestRates(clock, counts, lambda: flushed.append(clock.seconds()))
    assert (rates.rates(), rates.window) == ((), 0.0)
    answered(counts, 1000)  # before the start
    rates.start()
    clock.advance(5)
    answered(counts, 10)
    answered(counts, 20, outcome=Outcome.SERVED)
    assert rates.rates() == (RequestRate("served", "docker", 4.0), RequestRate("redirected", "docker", 2.0))
    assert flushed == [5.0], "what waits to be counted is in it"
    for _ in range(6):
        clock.advance(10)
    for _ in range(7):
        clock.advance(10)
    assert rates.rates() == ()
    answered(counts, 120)
    assert rates.rates() == (RequestRate("redirected", "docker", round(120 / rates.window, 3)),)
    assert 60 <= rates.window <= 70
    rates.stop()
    assert clock.getDelayedCalls() == []


def test_a_reload_that_removes_a_backend_makes_no_rate_negative() -> None:
    clock, counts = Clock(), RequestCounts(["main", "second"])
    rates = RequestRates(clock, counts, lambda: None)
    answered(counts, 50, "second")
    rates.start()
    clock.advance(1)
    counts.reconfigure(["main"])
    assert rates.rates() == ()
    rates.stop()
