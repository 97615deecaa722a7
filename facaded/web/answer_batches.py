"""Passes answered requests on in batches: what is done for each of them then costs half as much.

Between two answers the processor reads and writes sockets, and forgets the program meanwhile. A line of the access log
takes 0.6 µs right after another one, but 1.3 to 3.8 µs between two answers.

Under load, the subscribers have a batch one after the other, in parts, some answers apart, because nobody is answered
meanwhile: the slowest hundredth of the answers waits for one part of one of them, and not for all.
"""

from collections import deque
from collections.abc import Sequence
from functools import partial

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.web.answered_requests import AnsweredRequest, BatchSubscriber

BATCH = 500
"""Most answered requests that wait for the first subscriber; as many may wait for the others."""

PART, SMALL_PART = 250, 125
"""Most answered requests that a subscriber, and one that takes longest, has at once under load.

So the longest pause is that of the log, whether pulls are counted or not.
"""

APART = 50
"""Answered requests after which the next part is passed on: as many as are answered in one turn of the reactor."""

BATCH_TIME = 0.2
"""Seconds that they wait at most."""


class AnswerBatches:
    """Calls each of `subscribers` with all requests that were answered in a fifth of a second, in their order.

    Then it calls the `slow` ones.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, subscribers: Sequence[BatchSubscriber], slow: Sequence[BatchSubscriber] = ()
    ) -> None:
        self._clock = clock
        self._subscribers = [*((subscriber, PART) for subscriber in subscribers), *((one, SMALL_PART) for one in slow)]
        self._waiting: list[AnsweredRequest] = []
        self._calls: deque[partial[None]] = deque()
        self._enough = BATCH
        self._is_calling = False
        self._timer: IDelayedCall | None = None

    def follow(self, answered: AnsweredRequest) -> None:
        """Add an answered request; it is a `Subscriber`."""
        self._waiting.append(answered)
        if self._timer is None:
            self._timer = self._clock.callLater(BATCH_TIME, self._end_batch)
        elif len(self._waiting) >= self._enough:
            self._go_on()

    def flush(self) -> None:
        """Pass on what waits, now.

        Nothing happens during the call of a subscriber, which may have logged something: others would overtake it.
        """
        if self._is_calling:
            return
        self._finish()
        self._begin()
        self._finish()

    def _go_on(self) -> None:
        """Pass on the next part of the last batch, or the first one of the next batch."""
        if not self._calls:
            self._begin()
        if self._calls:
            self._call_next()
        self._enough = min(len(self._waiting) + APART, BATCH) if self._calls else BATCH

    def _begin(self) -> None:
        batch, self._waiting = self._waiting, []
        for subscriber, size in self._subscribers:
            parts = (batch[start : start + size] for start in range(0, len(batch), size))
            self._calls.extend(partial(subscriber, part) for part in parts)

    def _finish(self) -> None:
        while self._calls:
            self._call_next()
        self._enough = BATCH

    def _call_next(self) -> None:
        call, self._is_calling = self._calls.popleft(), True
        try:
            call()
        except Exception:
            self._log.failure("a subscriber failed for answered requests")
        finally:
            self._is_calling = False

    def _end_batch(self) -> None:
        self._timer = None
        self.flush()
