"""The pulls that are left at each registry, from its last rate-limit headers, and how many each source had."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import ReservedError
from facaded.net.expiring import ExpiringMap
from facaded.policy.health import Quota
from facaded.policy.quota_reserve import allows_pull, is_low, window
from facaded.policy.reasons import spell

SOURCES = 20_000
"""Sources of one backend whose pulls are counted; the least recent one is forgotten, and starts again with none."""

LONGEST_WAIT = 3600.0
"""Seconds after which a refused source may ask again at the latest, because most registries' windows move."""


@define
class _Pulls:
    """The pulls of one backend.

    `noted` are the last quotas by owner with their times, `in_progress` the pulls by owner whose response has not
    arrived, so that no quota includes them yet, and `had` those of each source in its window.
    """

    noted: dict[str, tuple[Quota, float]] = field(factory=dict)
    in_progress: Counter[str] = field(factory=Counter)
    had: ExpiringMap[str, tuple[int, float]] = field(factory=lambda: ExpiringMap(SOURCES))


class Quotas:
    """The pulls that are left at each backend, separately for facaded's address and its account.

    `follower` is called with the arguments of `learn` for each quota that is noted; None if there is one process only.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.follower: Callable[[str, str, Quota, float], None] | None = None
        self._clock = clock
        self._backends: dict[str, _Pulls] = {}

    def note(self, backend: str, owner: str, quota: Quota) -> None:
        """Store how many pulls are left to `owner`, which is "address" or "account"."""
        now = self._clock.seconds()
        self._pulls(backend).noted[owner] = quota, now
        if self.follower is not None:
            self.follower(backend, owner, quota, now)

    def learn(self, backend: str, owner: str, quota: Quota, at: float) -> None:
        """Store a quota that another process noted at `at`, in monotonic seconds, unless a newer one is known here."""
        noted = self._pulls(backend).noted
        if owner not in noted or noted[owner][1] < at:
            noted[owner] = quota, at

    def of(self, backend: str) -> Mapping[str, tuple[Quota, float]]:
        """Return the last quotas of a backend by owner, each with its time in monotonic seconds."""
        return self._backends[backend].noted if backend in self._backends else {}

    def rename(self, names: Mapping[str, str]) -> None:
        """Give backends their new names, which `names` has by the old ones, and remove all others."""
        self._backends = {names[name]: pulls for name, pulls in self._backends.items() if name in names}

    def is_low(self, backend: str, owner: str, percent: int) -> bool:
        """Return whether only the reserve of `percent` is left to an owner."""
        quota = self._current(self._pulls(backend), owner)
        return quota is not None and is_low(quota, percent)

    @contextmanager
    def pull(self, backend: str, owner: str, source: str, percent: int) -> Iterator[None]:
        """Count a pull of a source, which lasts until its response has arrived.

        Raises ReservedError if only the reserve of `percent` is left and the source had its share.
        """
        pulls = self._pulls(backend)
        if (quota := self._current(pulls, owner)) is not None:
            self._count(backend, pulls, quota, source, percent)
        pulls.in_progress[owner] += 1
        try:
            yield
        finally:
            pulls.in_progress[owner] -= 1

    def _count(self, backend: str, pulls: _Pulls, quota: Quota, source: str, percent: int) -> None:
        now = self._clock.seconds()
        had, until = pulls.had.get(source, now) or (0, now + window(quota))
        if not allows_pull(quota, percent, had):
            wait = min(until - now, LONGEST_WAIT)
            reason = f"keeps its last pulls (of {quota.limit} in {spell(window(quota))}) for clients that had fewer"
            raise ReservedError(f"{backend} {reason}", source, wait)
        pulls.had.put(source, (had + 1, until), until)

    def _current(self, pulls: _Pulls, owner: str) -> Quota | None:
        """Return an owner's quota without the pulls in progress; None if it is unknown, or its window is over."""
        quota, at = pulls.noted.get(owner, (None, 0.0))
        if quota is None or self._clock.seconds() - at >= window(quota):
            return None
        return evolve(quota, remaining=quota.remaining - pulls.in_progress[owner])

    def _pulls(self, backend: str) -> _Pulls:
        return self._backends.setdefault(backend, _Pulls())
