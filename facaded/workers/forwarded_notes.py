"""What a worker notes for the first process, which logs it: so that there is one line for all processes.

Each class stands in a worker for the class that it is derived from. It logs nothing, and is emptied by each report.
"""

from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

from facaded.backends.reached_limits import SUBJECT_LENGTH, ReachedLimit, ReachedLimits
from facaded.backends.refused_accounts import RefusedAccounts
from facaded.backends.seen_hosts import SeenHosts
from facaded.policy.limits import Limit
from facaded.policy.network_hosts import HostPort

MOST_WAITING = 1000
"""Most notes of a kind that wait while there is no first process; the oldest is forgotten."""

K = TypeVar("K")
V = TypeVar("V")


class ForwardedLimits(ReachedLimits):
    """The limits that were reached since the last report."""

    def add(self, limit: Limit, times: int, subject: str) -> None:
        before = self._reached.get(limit)
        count = times + (before.count if before else 0)
        self._reached[limit] = ReachedLimit(count, self._clock.seconds(), subject[:SUBJECT_LENGTH])

    def take(self) -> dict[Limit, ReachedLimit]:
        """Remove what was counted, and return it."""
        reached, self._reached = self._reached, {}
        return reached


class ForwardedHosts(SeenHosts):
    """The hosts that the backends lead to; those that are new wait for the next report."""

    def __init__(self) -> None:
        SeenHosts.__init__(self)
        self._waiting: dict[tuple[str, HostPort], None] = {}

    def take(self, most: int) -> list[tuple[str, HostPort]]:
        """Remove the first hosts that wait, at most so many, and return them, each after its backend's URL."""
        return [place for place, _ in take_first(self._waiting, most)]

    def repeat(self) -> None:
        """Let all hosts wait again, because there is a new first process."""
        for backend_url, places in self._hosts.items():
            for place in places:
                _put(self._waiting, (backend_url, place), None)

    def _tell_new(self, backend_url: str, place: HostPort) -> None:
        _put(self._waiting, (backend_url, place), None)

    def _tell_full(self, backend_url: str) -> None:
        """Do nothing: the first process finds this out too."""


class ForwardedAccounts(RefusedAccounts):
    """The accounts that were refused; what is new of them waits for the next report."""

    def __init__(self, clock: IReactorTime) -> None:
        RefusedAccounts.__init__(self, clock)
        self._waiting: dict[tuple[str, str], str | None] = {}

    def note(self, backend: str, repository: str, problem: str | None) -> None:
        RefusedAccounts.note(self, backend, repository, problem)
        _put(self._waiting, (backend, repository), problem)

    def take(self, most: int) -> list[tuple[tuple[str, str], str | None]]:
        """Remove the first notes that wait, at most so many, and return them: backend, repository and problem."""
        return take_first(self._waiting, most)

    def repeat(self) -> None:
        """Let what is known wait again, because there is a new first process."""
        for backend, refusal in self._refusals.items():
            _put(self._waiting, (backend, refusal.repository), refusal.problem)

    def _tell(self, backend: str, problem: str | None) -> None:
        """Do nothing: the first process logs it."""


def _put(waiting: dict[K, V], key: K, note: V) -> None:
    """Add a note as the last one that waits; forget the first if there are too many."""
    waiting.pop(key, None)
    waiting[key] = note
    if len(waiting) > MOST_WAITING:
        del waiting[next(iter(waiting))]


def take_first(waiting: dict[K, V], most: int) -> list[tuple[K, V]]:
    """Remove the first notes that wait, at most so many, and return them."""
    return [(key, waiting.pop(key)) for key in list(waiting)[:most]]
