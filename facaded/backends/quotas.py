"""The pulls that are left at each registry, from its last rate-limit headers."""

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime

from facaded.policy.health import Quota


class Quotas:
    """The pulls that are left at each backend, separately for facaded's address and its account."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._quotas: dict[str, dict[str, tuple[Quota, float]]] = {}

    def note(self, backend: str, owner: str, quota: Quota) -> None:
        """Store how many pulls are left to `owner`, which is "address" or "account"."""
        self._quotas.setdefault(backend, {})[owner] = quota, self._clock.seconds()

    def of(self, backend: str) -> Mapping[str, tuple[Quota, float]]:
        """Return the last quotas of a backend by owner, each with its time in monotonic seconds."""
        return self._quotas.get(backend, {})

    def rename(self, names: Mapping[str, str]) -> None:
        """Give backends their new names, which `names` has by the old ones, and remove all others."""
        self._quotas = {names[name]: quotas for name, quotas in self._quotas.items() if name in names}
