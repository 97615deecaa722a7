"""The plan of the watch: which backends are watched, and by which rules one of them is put in charge."""

from collections.abc import Awaitable, Callable, Mapping

from attrs import field, frozen

from facaded.policy.failover import Order, Place
from facaded.policy.health import Climb, Purpose, Result, Settings
from facaded.policy.overrides import Overrides


@frozen
class Watched:
    """One backend to watch.

    `identity` makes it the same backend after a reload, and `manner` makes it probed in the same way. `probe` makes one
    probe of it; nothing in policy/ calls it. `canary` is the image that it is asked for, by the facade's name; empty if
    there is none.
    """

    identity: tuple[object, ...]
    probe: Callable[[Climb], Awaitable[Result]] = field(eq=False)
    canary: str = ""
    manner: tuple[object, ...] = ()


@frozen
class Plan:
    """What to watch and by which rules.

    `routes` name the backends of each route, preferred first; only backends that a route names are in `backends`.
    `handover` is in seconds. `pinged` says where `GET /v2/` leads a client that learns its token there, by who is in
    charge of redirects for each route.
    """

    backends: Mapping[str, Watched]
    routes: tuple[tuple[str, ...], ...]
    settings: Settings
    handover: float = 0.0
    pinged: Callable[[tuple[str, ...]], str] = field(default=" ".join, eq=False)

    @property
    def canaries(self) -> dict[str, str]:
        """The canary of each backend that has one."""
        return {name: each.canary for name, each in self.backends.items() if each.canary}

    def orders(self, overrides: Overrides) -> dict[Place, Order]:
        """Who may be in charge where, and by which rules."""
        return {
            (route, purpose): Order(route, self.settings.failback_after, purpose, overrides)
            for route in self.routes
            for purpose in Purpose
        }

    def alike(self, before: "Plan") -> set[str]:
        """The backends that are the same as in the plan before, and are probed in the same way."""
        return {name for name, each in self.backends.items() if before.backends.get(name) == each}
