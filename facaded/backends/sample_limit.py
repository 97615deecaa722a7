"""The limit of samples: one client or one image must not make a whole backend look broken."""

from facaded.net.expiring import ExpiringMap
from facaded.policy.evidence import Attempt
from facaded.policy.sources import source_of

SAMPLE_INTERVAL = 10.0
"""Seconds in which at most one request of a client for a repository counts, for each backend and step."""

MOST_FAILURES = 3
"""Failed samples of one repository and step, fewer than make a backend degraded."""

FAILURES_TIME = 600.0
"""Seconds for which they are counted: the long window of `policy.samples`."""

SOURCES = 10_000
"""Sources that are remembered; the least recently used are evicted first."""


class SampleLimit:
    """Admits at most one sample per (backend, step, repository, source) in `SAMPLE_INTERVAL`.

    A repository of which `MOST_FAILURES` requests of a step have failed counts no more for that step until
    `FAILURES_TIME` after the first of them: many clients may ask for one broken image.
    """

    def __init__(self) -> None:
        self._seen: ExpiringMap[tuple[object, ...], bool] = ExpiringMap(SOURCES)
        self._failures: ExpiringMap[tuple[object, ...], int] = ExpiringMap(SOURCES)

    def admits(self, attempt: Attempt, now: float) -> bool:
        """Return whether an attempt counts as a sample, and note it if it does."""
        key = attempt.backend, attempt.step, attempt.repository, source_of(attempt.source)
        failures = self._failures.get(key[:3], now)
        if not attempt.sample or self._seen.get(key, now) or (failures or 0) >= MOST_FAILURES:
            return False
        self._seen.put(key, True, now + SAMPLE_INTERVAL)
        if not attempt.good and failures is not None:
            self._failures.replace(key[:3], failures + 1)
        elif not attempt.good:
            self._failures.put(key[:3], 1, now + FAILURES_TIME)
        return True
