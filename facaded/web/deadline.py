"""A timer that can be set again and cleared."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """A timer that calls `expired` unless it is set again or cleared first."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._call: IDelayedCall | None = None

    @property
    def is_set(self) -> bool:
        return self._call is not None

    def set(self, seconds: float) -> None:
        """Expire after `seconds` from now."""
        self.clear()
        self._call = self._clock.callLater(seconds, self._expire)

    def clear(self) -> None:
        """Do not expire."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _expire(self) -> None:
        self._call = None
        self._expired()
