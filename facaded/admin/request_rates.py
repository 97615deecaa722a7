"""How many requests a second clients send, by answer and family, over the last minute."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from facaded.admin.request_metrics import RequestCounts
from facaded.history.past import RequestTotals

SAMPLE_INTERVAL = 10.0
"""Seconds between two samples of the totals."""

SAMPLES = 7
"""Samples that are there: the oldest one is a minute old."""

Sample: TypeAlias = tuple[float, RequestTotals]
"""The totals at a time in monotonic seconds."""


@frozen
class RequestRate:
    """How many requests of a family of clients got an answer, a second. `answer` is as in the access log."""

    answer: str
    family: str
    per_second: float


class RequestRates:
    """Samples the totals of `counts`. `flush` passes on the answered requests that wait to be counted."""

    def __init__(self, clock: IReactorTime, counts: RequestCounts, flush: Callable[[], None]) -> None:
        self._clock = clock
        self._counts = counts
        self._flush = flush
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._timer = LoopingCall(self._sample)
        self._timer.clock = clock

    def start(self) -> None:
        """Begin to sample."""
        self._timer.start(SAMPLE_INTERVAL)

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    @property
    def window(self) -> float:
        """The seconds that `rates` are about: a minute, but less after the start."""
        return self._clock.seconds() - self._samples[0][0] if self._samples else 0.0

    def rates(self) -> tuple[RequestRate, ...]:
        """Return the rates that are not 0, the highest first."""
        if self.window <= 0:
            return ()
        self._flush()
        before = self._samples[0][1]
        counts = {key: total - before.get(key, 0) for key, total in self._counts.totals().items()}
        rates = [
            RequestRate(answer.word, family.value, round(count / self.window, 3))
            for (answer, family), count in counts.items()
            if count > 0  # fewer if a reload has removed a backend
        ]
        return tuple(sorted(rates, key=lambda rate: (-rate.per_second, rate.answer, rate.family)))

    def _sample(self) -> None:
        self._samples.append((self._clock.seconds(), self._counts.totals()))
