"""A timer that can be set again and cleared."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """A timer that calls `expired` unless it is set again, cleared or ended first."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired: Callable[[], None] | None = expired
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Expire after `seconds` from now; do nothing after the end."""
        self.clear()
        if self._expired is not None:
            self._call = self._clock.callLater(seconds, self._expire)

    def clear(self) -> None:
        """Do not expire."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def end(self) -> None:
        """Never expire again, and release `expired`, so that its owner needs no garbage collection."""
        self.clear()
        self._expired = None

    def _expire(self) -> None:
        self._call = None
        if self._expired is not None:
            self._expired()
