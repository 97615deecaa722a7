"""Gives memory back to the system after many connections have ended: the C library keeps most of what is freed."""

import ctypes
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

LEAST_CONNECTIONS = 16
"""Connections below which nothing is given back: over TLS, 16 take half a MiB."""

DELAY = 0.2
"""Seconds from when half of them have ended: the others may end too."""

PAUSE = 100.0
"""Times the duration of one release until the next: it takes 1 ms, and 70 ms if there were 400 MiB."""

Release = Callable[[], object]


def find_release() -> Release | None:
    """Return the C library's function for it, malloc_trim(3); None if it has none."""
    release: Release | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if release is None else lambda: release(0)  # type: ignore[call-arg]  # a function of C


class FreedMemory:
    """Calls `release` when half of many connections have ended. `clock` has to be that of the reactor."""

    def __init__(self, clock: IReactorTime, release: Release | None = None) -> None:
        self._clock = clock
        self._release = release or find_release()
        self._most = self._open = 0
        self._is_waiting = False
        self._not_before = 0.0

    def note_end(self, connections: int) -> None:
        """Note that a connection has ended, and that so many others are open."""
        self._open = connections
        if connections >= self._most:
            self._most = connections + 1
        elif (
            connections <= self._most // 2
            and self._most >= LEAST_CONNECTIONS
            and not self._is_waiting
            and self._clock.seconds() >= self._not_before
        ):
            self._is_waiting = True
            self._clock.callLater(DELAY, self._give_back)

    def _give_back(self) -> None:
        self._is_waiting, self._most = False, self._open
        if self._release is not None:
            start = self._clock.seconds()
            self._release()
            now = self._clock.seconds()
            self._not_before = now + PAUSE * (now - start)
