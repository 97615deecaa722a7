"""Histograms of durations."""

from facaded.net.histograms import BOUNDS, Histogram


def test_a_duration_counts_in_its_bucket_and_in_all_larger_ones() -> None:
    histogram = Histogram()
    for seconds in (0.0001, 0.001, 0.002, 0.3, 60.0):
        histogram.observe(seconds)
    buckets = dict(histogram.buckets)
    assert (buckets["0.001"], buckets["0.005"], buckets["0.25"], buckets["0.5"], buckets["10.0"]) == (2, 3, 3, 4, 4)
    assert buckets["+Inf"] == histogram.total == 5
    assert histogram.seconds == sum((0.0001, 0.001, 0.002, 0.3, 60.0))
    assert list(buckets) == [*map(str, BOUNDS), "+Inf"]


def test_histograms_are_added() -> None:
    one, other = Histogram(), Histogram()
    one.observe(0.2)
    other.observe(0.2)
    other.observe(20.0)
    one.add(other)
    assert (one.total, one.seconds, dict(one.buckets)["0.25"]) == (3, 20.4, 2)
