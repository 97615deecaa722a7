"""The pulls that a registry still grants, as it says in its headers."""

import re
from collections.abc import Collection, Mapping

from twisted.internet.interfaces import IReactorTime

from facaded.net.client import ResponseHead
from facaded.policy.health import Quota

_RATE = re.compile(r"(\d{1,15})(?:;w=(\d{1,9}))?")


def read_quota(head: ResponseHead) -> Quota | None:
    """The pulls that are left, as Docker Hub says it: `ratelimit-remaining: 76;w=21600`. None if it does not say."""
    remaining = _RATE.fullmatch(head.value("RateLimit-Remaining"))
    if not remaining:
        return None
    limit = _RATE.fullmatch(head.value("RateLimit-Limit"))
    return Quota(int(remaining[1]), int(limit[1]) if limit else None, float(remaining[2] or 0))


class Quotas:
    """The pulls that each backend still grants, by who asks it: the facade's address or its account."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._seen: dict[str, dict[str, tuple[Quota, float]]] = {}

    def note(self, backend: str, asker: str, quota: Quota) -> None:
        """The backend has said how many pulls are left to the facade's `asker`."""
        self._seen.setdefault(backend, {})[asker] = quota, self._clock.seconds()

    def of(self, backend: str) -> Mapping[str, tuple[Quota, float]]:
        """What a backend has said last, by asker, and when in monotonic seconds."""
        return self._seen.get(backend, {})

    def keep(self, backends: Collection[str]) -> None:
        """Forget all backends but these."""
        self._seen = {name: seen for name, seen in self._seen.items() if name in backends}
