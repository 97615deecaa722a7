"""A timer that can be set again and cleared."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """A timer that calls `expired` unless it is set again, cleared or ended first. `is_set` says whether it runs."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired: Callable[[], None] | None = expired
        self._call: IDelayedCall | None = None
        self.is_set = False

    def set(self, seconds: float) -> None:
        """Expire after `seconds` from now; do nothing after the end."""
        self.clear()
        if self._expired is not None:
            self._call = self._clock.callLater(seconds, self._expire)
            self.is_set = True

    def clear(self) -> None:
        """Do not expire."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
            self.is_set = False

    def end(self) -> None:
        """Never expire again, and release `expired`, so that its owner needs no garbage collection."""
        self.clear()
        self._expired = None

    def _expire(self) -> None:
        self._call = None
        self.is_set = False
        if self._expired is not None:
            self._expired()
