"""Samples: how often requests to a backend failed lately, by step, over a short and a long sliding window.

This finds brown-outs: a backend that fails some requests, but seldom enough of them in a row to be down. The idea is
Envoy's outlier detection: eject a host whose failure rate is too high, if there are enough requests to tell.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from attrs import field, frozen

Step = TypeVar("Step", bound=Hashable)

SHORT_WINDOW = 60.0
"""Seconds of the short window, which finds a fault that many requests meet."""

LONG_WINDOW = 600.0
"""Seconds of the long window, which finds one that few requests meet, and its end."""

BUCKET = 10.0
"""Samples are counted in intervals of this many seconds, so the memory does not grow with the traffic."""

TOLERATED_RATE = 0.1
"""The fraction of requests that may fail."""

ALLOWANCE = 5
"""Failures above that rate that may be chance.

By this, a step needs at least six samples to be failing, all of them bad. With 3 % of the requests failing
independently, the limit is passed less than once a month.
"""

CALM_RATE = 0.02
"""The fraction of requests that may fail over the long window when a brown-out counts as over."""

CALM_ALLOWANCE = 1
"""Failures above that rate that may be chance."""

CALM_SAMPLES = 10
"""The least number of samples of the step that failed for a brown-out to count as over."""


@frozen
class Count:
    """How many requests were `sent` and `failed` within `window` seconds."""

    sent: int
    failed: int
    window: float

    @property
    def is_failing(self) -> bool:
        return self.failed > ALLOWANCE + TOLERATED_RATE * self.sent


@frozen
class Samples(Generic[Step]):
    """The samples of one backend. `buckets` are, by step, (number of the interval, sent, failed), oldest first."""

    buckets: Mapping[Step, tuple[tuple[int, int, int], ...]] = field(factory=dict)

    def add(self, step: Step, now: float, sent: int = 1, failed: int = 0) -> "Samples[Step]":
        """Return these samples with `sent` more requests of a step at the time `now`, of which `failed` failed."""
        number, oldest = int(now // BUCKET), int((now - LONG_WINDOW) // BUCKET)
        buckets = self.buckets.get(step, ())
        if buckets and buckets[-1][0] == number:
            _, sent_before, failed_before = buckets[-1]
            buckets = (*buckets[:-1], (number, sent_before + sent, failed_before + failed))
        else:
            buckets = (*(bucket for bucket in buckets if bucket[0] > oldest), (number, sent, failed))
        return Samples({**self.buckets, step: buckets})

    def count(self, step: Step, now: float, window: float) -> Count:
        """Return the requests of a step within the last `window` seconds, to the precision of `BUCKET`."""
        oldest, sent, failed = int((now - window) // BUCKET), 0, 0
        for number, sent_then, failed_then in reversed(self.buckets.get(step, ())):
            if number <= oldest:
                break
            sent, failed = sent + sent_then, failed + failed_then
        return Count(sent, failed, window)

    def counts(self, now: float, window: float) -> Mapping[Step, Count]:
        """Return the requests of each step that has any within the window, in the order of their first samples."""
        counts = {step: self.count(step, now, window) for step in self.buckets}
        return {step: count for step, count in counts.items() if count.sent}

    def find_failing(self, now: float) -> tuple[Step, Count] | None:
        """Return the first step whose failure rate is over the limit in either window, or None."""
        return next(self._failing(now), None)

    def is_calm(self, step: Step, now: float) -> bool:
        """Return whether a brown-out of `step` is over: hardly any request of any step failed in the long window.

        Probes may be unable to take that step, for want of a canary. Then the samples of the other steps decide.
        """
        counts = self.counts(now, LONG_WINDOW)
        sent = counts[step].sent if step in counts else max((count.sent for count in counts.values()), default=0)
        return sent >= CALM_SAMPLES and all(
            count.failed <= CALM_ALLOWANCE + CALM_RATE * count.sent for count in counts.values()
        )

    def _failing(self, now: float) -> Iterator[tuple[Step, Count]]:
        for window in (SHORT_WINDOW, LONG_WINDOW):
            for step, count in self.counts(now, window).items():
                if count.is_failing:
                    yield step, count
