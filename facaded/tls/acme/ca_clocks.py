"""The clocks of the CAs, as their answers show them: this machine's may be wrong by hours.

Certificates are valid by the clock of the CA that issues them, and by those of the clients. With this machine's own,
a certificate for a day would be renewed too late if it is slow.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from twisted.logger import Logger

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE

SMALLEST_OFFSET = 2 * MINUTE
"""Seconds below which a difference is none: an answer may take half a minute, and CAs round to seconds."""

LARGEST_OFFSET = DAY
"""Seconds above which a difference is not believed: a proxy may send any date."""

NEWS = HOUR
"""Seconds by which the difference must have changed to be logged again."""


class ClockSteps:
    """Notices that this machine's clock was set back: what is scheduled by it would come too late.

    `wall` returns seconds since the epoch, `monotonic` seconds that nobody sets.
    """

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._difference = wall() - monotonic()

    def was_set_back(self) -> bool:
        """Return whether the clock was set back since the last call. A suspended machine's is set forward only."""
        before, self._difference = self._difference, self._wall() - self._monotonic()
        return self._difference < before - SMALLEST_OFFSET


class CaClocks:
    """How far the clock of each CA, by its directory URL, is ahead of `wall`, which returns seconds since the epoch."""

    _log = Logger()

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._offsets: dict[str, float] = {}
        self._logged: dict[str, float] = {}

    def note(self, ca: str, offset: float | None) -> None:
        """Note how many seconds a CA's clock was ahead in its latest answer; None if it did not say."""
        if offset is None:
            return
        is_plausible = SMALLEST_OFFSET <= abs(offset) <= LARGEST_OFFSET
        self._offsets[ca] = offset if is_plausible else 0.0
        if abs(offset) < SMALLEST_OFFSET:
            self._logged.pop(ca, None)
        elif abs(offset - self._logged.get(ca, 0.0)) > NEWS or ca not in self._logged:
            self._logged[ca] = offset
            self._log.warn(
                "this machine's clock is {minutes} minutes {direction} that of {host}: correct it (see `timedatectl`)",
                minutes=round(abs(offset) / MINUTE),
                direction="behind" if offset > 0 else "ahead of",
                host=urlsplit(ca).hostname,
            )

    def recall(self, ca: str, offset: float) -> None:
        """Assume an offset that an earlier process noted, until the CA answers."""
        self._offsets.setdefault(ca, offset)

    def offset(self, ca: str | None) -> float:
        """Return how many seconds a CA's clock is ahead; 0 if it is not known."""
        return self._offsets.get(ca or "", 0.0)

    def now(self, ca: str | None) -> float:
        """Return the time by the clock of a CA."""
        return self._wall() + self.offset(ca)

    def to_wall(self, ca: str | None, time: float) -> float:
        """Return a time by the clock of a CA as one by this machine's."""
        return time - self.offset(ca)
