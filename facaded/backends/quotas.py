"""The pulls that each registry still grants, as it said last."""

from collections.abc import Collection, Mapping

from twisted.internet.interfaces import IReactorTime

from facaded.policy.health import Quota


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
