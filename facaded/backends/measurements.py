"""Measurements of what the backends are asked: how long it takes, what token servers answer, what the cache saves.

They outlive new settings, except those of backends that these no longer have.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from functools import partial
from typing import TypeAlias

from twisted.internet.interfaces import IReactorTime

from facaded.backends.manifests import CacheUses, ManifestCache
from facaded.net.histograms import Histogram
from facaded.policy.health import Step

Measured: TypeAlias = Callable[[Step], AbstractContextManager[None]]
"""Is called with the step that a request takes, and returns what times the request."""

StepKey: TypeAlias = tuple[str, Step]
"""A backend and a step."""


class TokenResult(Enum):
    """What came of a request for a token. FAILED: no answer, one that is no token, or a status but 401 and 403."""

    GRANTED = "granted"
    REFUSED = "refused"
    FAILED = "failed"


def unmeasured(_: Step) -> AbstractContextManager[None]:
    """Measure nothing."""
    return nullcontext()


class Measurements:
    """What was measured since the start.

    `requests` and `probes` are the durations of requests for clients and of probes and checks, by backend and step, and
    `latest` is the last duration of the latter in seconds.
    `tokens` counts the requests for tokens by backend and result. `cache` is the one in use, None before there is one,
    and `cache_uses` are those of all caches.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.requests: dict[StepKey, Histogram] = {}
        self.probes: dict[StepKey, Histogram] = {}
        self.latest: dict[StepKey, float] = {}
        self.tokens: Counter[tuple[str, TokenResult]] = Counter()
        self.cache_uses = CacheUses()
        self.cache: ManifestCache | None = None

    def retain(self, backends: Collection[str]) -> None:
        """Forget what was measured of all other backends."""
        for histograms in (self.requests, self.probes):
            for key in [key for key in histograms if key[0] not in backends]:
                del histograms[key]
        for key in [key for key in self.latest if key[0] not in backends]:
            del self.latest[key]
        for counted in [counted for counted in self.tokens if counted[0] not in backends]:
            del self.tokens[counted]

    def measured(self, backend: str) -> Measured:
        """Return what times the requests to a backend."""
        return partial(self._measure, backend)

    def note_token(self, backend: str, result: TokenResult) -> None:
        """Count a request for a token."""
        self.tokens[backend, result] += 1

    def note_probe(self, backend: str, durations: Mapping[Step, float]) -> None:
        """Count how long each step of a probe or a check took, in seconds."""
        for step, seconds in durations.items():
            self.probes.setdefault((backend, step), Histogram()).observe(seconds)
            self.latest[backend, step] = seconds

    def add_requests(self, backend: str, step: Step, durations: Histogram) -> None:
        """Count requests to a backend that another process timed."""
        self.requests.setdefault((backend, step), Histogram()).add(durations)

    @contextmanager
    def _measure(self, backend: str, step: Step) -> Iterator[None]:
        """Time a request, whatever its outcome."""
        start = self._clock.seconds()
        try:
            yield
        finally:
            self.requests.setdefault((backend, step), Histogram()).observe(self._clock.seconds() - start)
