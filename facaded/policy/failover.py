"""Who is in charge: the first backend that works, and a patient way back to an earlier one.

Pure: the healths, the order and the time go in, a `Charge` comes out. Times are monotonic seconds.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from facaded.policy.health import Health, Purpose, State


@frozen
class Charge:
    """The backend that requests are sent to, and since when."""

    backend: str
    since: float


@frozen
class Order:
    """The backends of one route, preferred first and at least one, and what one of them is to be in charge for.

    `failback_after` is how long an earlier backend must have been up before it is in charge again, in seconds.
    """

    backends: tuple[str, ...]
    failback_after: float
    purpose: Purpose = Purpose.REDIRECT

    def choose(self, healths: Mapping[str, Health], charge: Charge | None, now: float) -> Charge:
        """Say who is in charge now; `charge` is who was until now.

        With all of them down the first is in charge: it may be this machine's own network that is broken.
        """
        chosen = self._choose(healths, charge.backend if charge else None, now)
        return charge if charge and charge.backend == chosen else Charge(chosen, now)

    def failback_at(self, healths: Mapping[str, Health], charge: Charge) -> float | None:
        """When an earlier backend takes over again if nothing else happens, or None if none is on its way back."""
        if charge.backend not in self.backends or not self._works(healths[charge.backend]):
            return None
        earlier = self.backends[: self.backends.index(charge.backend)]
        return min(
            (healths[name].since + self.failback_after for name in earlier if self._is_back(healths[name])),
            default=None,
        )

    def explain(self, healths: Mapping[str, Health], charge: Charge, now: float) -> str:
        """One sentence: who is in charge, and why. Times are in seconds from `now`."""
        name = charge.backend
        if len(self.backends) == 1:
            return f"{name} is in charge: no other backend may stand in"
        if not any(self._works(healths[each]) for each in self.backends):
            return f"{name} is in charge: every backend is down, so the first one keeps the requests"
        due = self.failback_at(healths, charge)
        if due is not None:
            back = next(each for each in self.backends if self._is_back(healths[each]))
            return f"{name} is in charge: {back} is back, and takes over in {max(due - now, 0.0):.0f} s if it stays up"
        earlier = self.backends[: self.backends.index(name)]
        if not earlier:
            return f"{name} is in charge: it is the first and {healths[name].state.value}"
        return f"{name} is in charge: {', '.join(describe(each, healths[each]) for each in earlier)}"

    def _choose(self, healths: Mapping[str, Health], current: str | None, now: float) -> str:
        usable = [name for name in self.backends if self._works(healths[name])]
        if not usable:
            return self.backends[0]
        if current not in usable:
            return next((name for name in usable if healths[name].state is not State.UNKNOWN), usable[0])
        earlier = usable[: usable.index(current)]
        return next((name for name in earlier if self._is_due(healths[name], now)), current)

    def _works(self, health: Health) -> bool:
        return health.usable(self.purpose)

    def _is_back(self, health: Health) -> bool:
        return self._works(health) and health.state is not State.UNKNOWN

    def _is_due(self, health: Health, now: float) -> bool:
        return self._is_back(health) and now >= health.since + self.failback_after


def summarise(
    backends: Sequence[str], healths: Mapping[str, Health], charge: Charge, written: Callable[[float], str]
) -> str:
    """One line for a service manager: `docker-hub down (token server: time-out) since 02:13; ghcr in charge`.

    `written` turns a time into what a person reads.
    """
    troubles = [
        f"{describe(name, healths[name])} since {written(healths[name].since)}"
        for name in backends
        if healths[name].state is not State.UP
    ]
    return "; ".join([*troubles, f"{charge.backend} in charge"])


def describe(name: str, health: Health) -> str:
    """A backend's state in words, with what failed: `docker-hub down (token server: time-out)`."""
    if health.state is State.DOWN and health.failed:
        return f"{name} down ({health.failed.step.value}: {health.failed.words})"
    return f"{name} {health.state.value}"
