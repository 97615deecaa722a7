"""Histograms of durations, as Prometheus has them: how many were at most so long, and their sum."""

from bisect import bisect_left
from itertools import accumulate

BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds: an answer without a backend takes less than the first one, and no request
waits for backends longer than 12 s."""


class Histogram:
    """Durations by bucket. `counts` has one for each of BOUNDS, and for those beyond; `seconds` is their sum."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, other: "Histogram") -> None:
        """Add the durations of another histogram."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.seconds += other.seconds

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    @property
    def buckets(self) -> tuple[tuple[str, int], ...]:
        """How many durations were at most as long as each bound; the last one is `+Inf`."""
        return tuple(zip((*map(str, BOUNDS), "+Inf"), accumulate(self.counts), strict=True))
