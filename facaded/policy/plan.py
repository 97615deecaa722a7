"""The plan of the watch: which backends are watched, and by which rules one of them is made active."""

from collections.abc import Awaitable, Callable, Mapping

from attrs import field, frozen

from facaded.policy.failover import Place, Selector
from facaded.policy.health import ProbeDepth, Purpose, Result, Settings
from facaded.policy.overrides import Overrides


@frozen
class Watched:
    """One backend to watch.

    `identity` makes it the same backend after a reload, and `manner` makes it probed in the same way. `probe` makes one
    probe of it; nothing in policy/ calls it. `canary` is the image that it is asked for, by the facade's name; empty if
    there is none.
    """

    identity: tuple[object, ...]
    probe: Callable[[ProbeDepth], Awaitable[Result]] = field(eq=False)
    canary: str = ""
    manner: tuple[object, ...] = ()


@frozen
class Plan:
    """What to watch and by which rules.

    `routes` name the backends of each route, preferred first; only backends that a route names are in `backends`.
    `handover` is in seconds. `ping_target` says where `GET /v2/` leads a client that learns its token there, given the
    active backend for redirects of each route.
    """

    backends: Mapping[str, Watched]
    routes: tuple[tuple[str, ...], ...]
    settings: Settings
    handover: float = 0.0
    ping_target: Callable[[tuple[str, ...]], str] = field(default=" ".join, eq=False)

    @property
    def canaries(self) -> dict[str, str]:
        """The canary of each backend that has one."""
        return {name: each.canary for name, each in self.backends.items() if each.canary}

    def selectors(self, overrides: Overrides) -> dict[Place, Selector]:
        """which backend may be active where, and by which rules."""
        return {
            (route, purpose): Selector(route, self.settings.failback_after, purpose, overrides)
            for route in self.routes
            for purpose in Purpose
        }

    def alike(self, before: "Plan") -> set[str]:
        """The backends that are the same as in the plan before, and are probed in the same way."""
        return {name for name, each in self.backends.items() if before.backends.get(name) == each}
