"""Outages: what the state of the backends means for clients. Log, metrics, /statusz and notifications tell this."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from facaded.policy.health import Health, State
from facaded.policy.snapshot import Snapshot


@frozen
class Outage:
    """A route none of whose backends that are in use can answer clients.

    `causes` has the reason of each backend. `is_total` is whether all are down; else some are limited, so that clients
    are still redirected, but not served. `is_whole` is whether it is so on every route, `is_pinned` whether only the
    pinned backend is in use.
    """

    route: tuple[str, ...]
    causes: tuple[tuple[str, str], ...]
    is_total: bool
    is_whole: bool
    is_pinned: bool = False

    @property
    def sentence(self) -> str:
        """What an operator must know, as in `ALL BACKENDS DOWN (docker-hub: answered 500; ghcr: answered 500)`."""
        what = "ALL BACKENDS DOWN" if self.is_total else "ALL BACKENDS DOWN OR LIMITED"
        what = "THE PINNED BACKEND IS DOWN" if self.is_pinned else what
        where = "" if self.is_whole else f" on the route {', '.join(self.route)}"
        causes = "; ".join(f"{name}: {reason}" for name, reason in self.causes)
        return f"{what}{where} ({causes})"


def find_outages(snapshot: Snapshot) -> tuple[Outage, ...]:
    """Return the outages at this moment, in the order of the routes, without repetitions.

    Drained backends are not in use, unless all backends of the route are drained, and beside a pinned one none is. With
    `plan.serves`, limited ones count too: what they are asked for is refused. A backend that a reload has added works
    only once it has been probed; at the start, before the first probes have ended, it may work.
    """
    routes = tuple(dict.fromkeys(snapshot.plan.routes))
    out = {route: healths for route in routes if (healths := _failing(snapshot, route))}
    return tuple(_outage(route, healths, snapshot, is_whole=len(out) == len(routes)) for route, healths in out.items())


def explain_outages(outages: Iterable[Outage]) -> str:
    """Return one sentence for all outages; empty if clients are not affected."""
    return "; ".join(dict.fromkeys(outage.sentence for outage in outages))


def _failing(snapshot: Snapshot, route: tuple[str, ...]) -> dict[str, Health]:
    """Return the backends of a route that are in use, if none of them can answer clients; else nothing."""
    overrides, known = snapshot.watch_state.overrides, snapshot.watch_state.healths
    names: Sequence[str] = [name for name in route if name not in overrides.drains] or route
    if overrides.pinned in route:
        names = [name for name in route if name == overrides.pinned]
    healths = {name: known[name] for name in names if name in known}
    counted = {State.DOWN, State.LIMITED} if snapshot.plan.serves and overrides.pinned not in route else {State.DOWN}
    has_begun = any(health.state in counted for health in healths.values())
    if has_begun and snapshot.settled:
        counted |= {State.UNKNOWN}
    return healths if has_begun and all(health.state in counted for health in healths.values()) else {}


def _outage(route: tuple[str, ...], healths: dict[str, Health], snapshot: Snapshot, *, is_whole: bool) -> Outage:
    reasons = {name: health.failed.reason if health.failed else health.state.value for name, health in healths.items()}
    is_total = all(health.state is not State.LIMITED for health in healths.values())
    is_pinned = snapshot.watch_state.overrides.pinned in route
    return Outage(route, tuple(reasons.items()), is_total, is_whole, is_pinned)
