"""What checks of CDNs have shown, in this process and in others: see `cdn_checks`."""

import math
from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.net.expiring import ExpiringMap
from facaded.policy.cdns import Cdn

MEMORY_TIME = 3600.0
"""Seconds for which the last check of a CDN is remembered."""

MOST_CDNS = 1000
"""CDNs that are remembered; the least recently used are evicted first."""

CdnKey = tuple[str, str, str, int]
"""Backend, scheme, host and port. Each backend has its own checks, so that none can spoil the CDN of another one."""


@frozen
class CdnNews:
    """The result of a check that ended at `ended`, in monotonic seconds, and took `duration`: see `Cdn`."""

    key: CdnKey
    alive: bool
    ended: float
    duration: float
    reason: str


class CdnResults:
    """The results of all CDNs, and the requests that wait for one.

    `note` is called with each result that is newer than what was known. `follower` is called with those of this
    process, for the other processes; None if there are none.
    """

    def __init__(self, clock: IReactorTime, note: Callable[[CdnKey, Cdn], None]) -> None:
        self.follower: Callable[[CdnNews], None] | None = None
        self._clock = clock
        self._note = note
        self._cdns: ExpiringMap[CdnKey, Cdn] = ExpiringMap(MOST_CDNS)
        self._waiters: set[Deferred[None]] = set()

    def look_up(self, key: CdnKey) -> Cdn:
        """Return what is known of a CDN."""
        return self._cdns.get(key, self._clock.seconds()) or Cdn()

    def when_changed(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires when there is a result, or after `seconds`. It may be cancelled."""
        waiter: Deferred[None] = Deferred(lambda cancelled: self._waiters.discard(cancelled))
        self._waiters.add(waiter)
        return waiter.addTimeout(seconds, self._clock, lambda outcome, _: None)

    def begin(self, key: CdnKey) -> None:
        """Note that a check begins here."""
        now = self._clock.seconds()
        self._cdns.put(key, self.look_up(key).begin(now), now + MEMORY_TIME)

    def end(self, key: CdnKey, alive: bool | None, reason: str) -> None:
        """Note that a check has ended here; `alive` is None if it has shown nothing. Call `wake` after it."""
        now = self._clock.seconds()
        cdn = self.look_up(key).end(now, alive, reason)
        self._cdns.put(key, cdn, now + MEMORY_TIME)
        if alive is None or cdn.ended is None:
            return
        self._note(key, cdn)
        if self.follower is not None:
            self.follower(CdnNews(key, alive, now, cdn.duration, reason))

    def learn(self, news: CdnNews) -> None:
        """Take over the result of another process if it is newer; a check in progress here goes on."""
        known, ended = self.look_up(news.key), news.ended
        oldest = self._clock.seconds() - MEMORY_TIME
        if ended <= max(oldest, -math.inf if known.ended is None else known.ended):
            return
        begun = ended - news.duration if known.begun is None else max(known.begun, ended - news.duration)
        cdn = Cdn(begun, known.running, ended, news.alive, news.duration, news.reason)
        self._cdns.put(news.key, cdn, max(ended, begun) + MEMORY_TIME)
        self._note(news.key, cdn)
        self.wake()

    def known(self) -> list[CdnNews]:
        """Return the last result of each CDN."""
        return [
            CdnNews(key, cdn.alive, cdn.ended, cdn.duration, cdn.reason)
            for key, cdn in self._cdns.items(self._clock.seconds())
            if cdn.ended is not None
        ]

    def wake(self) -> None:
        """Let the requests that wait go on; new ones may wait for another check meanwhile."""
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.called:  # the client of one may disconnect meanwhile
                waiter.callback(None)
