"""Who is in charge: the first backend that works, and a patient way back to an earlier one.

Pure: the healths, the order and the time go in, a `Charge` comes out. Times are monotonic seconds.
"""

from collections.abc import Callable, Mapping, Sequence

from attrs import frozen

from facaded.policy.health import Health, State


@frozen
class Charge:
    """The backend that requests are sent to, and since when."""

    backend: str
    since: float


def choose(
    order: Sequence[str], healths: Mapping[str, Health], charge: Charge | None, now: float, failback_after: float
) -> Charge:
    """Say who is in charge now.

    `order` names the backends that may stand in, preferred first, at least one; `charge` is who was in charge until
    now. Failback to an earlier backend comes only after that one has been up for `failback_after` seconds. With all
    of them down the first is in charge: it may be this machine's own network that is broken.
    """
    chosen = _choose(order, healths, charge.backend if charge else None, now, failback_after)
    return charge if charge and charge.backend == chosen else Charge(chosen, now)


def failback_at(
    order: Sequence[str], healths: Mapping[str, Health], charge: Charge, failback_after: float
) -> float | None:
    """When an earlier backend takes over again if nothing else happens, or None if none is on its way back."""
    if charge.backend not in order or not healths[charge.backend].usable:
        return None
    earlier = order[: order.index(charge.backend)]
    return min((healths[name].since + failback_after for name in earlier if _is_back(healths[name])), default=None)


def explain(
    order: Sequence[str], healths: Mapping[str, Health], charge: Charge, now: float, failback_after: float
) -> str:
    """One sentence: who is in charge, and why. Times are in seconds from `now`."""
    name = charge.backend
    if len(order) == 1:
        return f"{name} is in charge: no other backend may stand in"
    if not any(healths[each].usable for each in order):
        return f"{name} is in charge: every backend is down, so the first one keeps the requests"
    due = failback_at(order, healths, charge, failback_after)
    if due is not None:
        back = next(each for each in order if _is_back(healths[each]))
        return f"{name} is in charge: {back} is back, and takes over in {max(due - now, 0.0):.0f} s if it stays up"
    earlier = order[: order.index(name)]
    if not earlier:
        return f"{name} is in charge: it is the first and {healths[name].state.value}"
    return f"{name} is in charge: {', '.join(describe(each, healths[each]) for each in earlier)}"


def summarise(
    order: Sequence[str], healths: Mapping[str, Health], charge: Charge, written: Callable[[float], str]
) -> str:
    """One line for a service manager: `docker-hub down (token server: time-out) since 02:13; ghcr in charge`.

    `written` turns a time into what a person reads.
    """
    troubles = [
        f"{describe(name, healths[name])} since {written(healths[name].since)}"
        for name in order
        if healths[name].state is not State.UP
    ]
    return "; ".join([*troubles, f"{charge.backend} in charge"])


def describe(name: str, health: Health) -> str:
    """A backend's state in words, with what failed: `docker-hub down (token server: time-out)`."""
    if health.state is State.DOWN and health.failed:
        return f"{name} down ({health.failed.step.value}: {health.failed.words})"
    return f"{name} {health.state.value}"


def _choose(
    order: Sequence[str], healths: Mapping[str, Health], current: str | None, now: float, failback_after: float
) -> str:
    usable = [name for name in order if healths[name].usable]
    if not usable:
        return order[0]
    if current not in usable:
        return next((name for name in usable if healths[name].state is not State.UNKNOWN), usable[0])
    earlier = usable[: usable.index(current)]
    return next((name for name in earlier if _is_due(healths[name], now, failback_after)), current)


def _is_back(health: Health) -> bool:
    return health.usable and health.state is not State.UNKNOWN


def _is_due(health: Health, now: float, failback_after: float) -> bool:
    return _is_back(health) and now >= health.since + failback_after
