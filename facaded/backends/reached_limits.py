"""The limits that were reached, for log and status: a flood of refusals must not become a flood of log lines."""

from collections.abc import Mapping

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.net.client import is_lack_of_descriptors
from facaded.policy.limits import Limit
from facaded.policy.sources import Addresses, show_address

LOG_INTERVAL = 60.0
"""Least seconds between two log lines about the same limit."""

SUBJECT_LENGTH = 80
"""Characters of a subject, such as a source, that are kept."""


@frozen
class ReachedLimit:
    """How often a limit was reached since the start, when last (monotonic seconds), and by which source or backend."""

    count: int
    last: float
    subject: str


class ReachedLimits:
    """Counts how often each limit was reached. The log says so at once, and then once a minute with the count."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._reached: dict[Limit, ReachedLimit] = {}
        self._logged: dict[Limit, int] = {}
        self._timers: dict[Limit, IDelayedCall] = {}
        self._addresses = Addresses.FULL

    def reconfigure(self, addresses: Addresses) -> None:
        """Show clients' addresses in the log in this way from now on."""
        self._addresses = addresses

    def stop(self) -> None:
        """Stop the timers of the log lines."""
        while self._timers:
            self._timers.popitem()[1].cancel()

    def note(self, limit: Limit, subject: str) -> None:
        """Count that `subject` reached a limit; it is a source or a backend, in printable characters."""
        self.add(limit, 1, subject)

    def add(self, limit: Limit, times: int, subject: str) -> None:
        """Count that a limit was reached so many times, the last time by `subject`."""
        before = self._reached.get(limit)
        earlier = before.count if before else 0
        self._reached[limit] = ReachedLimit(earlier + times, self._clock.seconds(), subject[:SUBJECT_LENGTH])
        if limit not in self._logged:
            self._logged[limit] = earlier
            self._write_line(limit)

    def note_local_error(self, backend: str, reason: str) -> None:
        """Count that a request to `backend` failed because of this machine; `reason` describes the error."""
        self.note(Limit.DESCRIPTORS if is_lack_of_descriptors(reason) else Limit.LOCAL, f"{backend} ({reason})")

    def all(self) -> Mapping[Limit, ReachedLimit]:
        """Return the limits that were reached since the start."""
        return self._reached

    def _write_line(self, limit: Limit) -> None:
        """Log how often a limit was reached since the last line, and again after a minute if there is more to say."""
        reached, logged = self._reached[limit], self._logged[limit]
        self._timers.pop(limit, None)
        if reached.count == logged:
            del self._logged[limit]
            return
        self._logged[limit] = reached.count
        times = reached.count - logged
        self._log.warn(
            "limit reached: {limit}, by {subject}{times}",
            limit=limit.value,
            subject=show_address(reached.subject, self._addresses),
            times="" if times == 1 else f"; {times} times in the last minute",
        )
        self._timers[limit] = self._clock.callLater(LOG_INTERVAL, self._write_line, limit)
