"""The plan of the watch: the backends to probe, and the settings for choosing the active ones."""

from collections.abc import Awaitable, Callable, Mapping

from attrs import field, frozen

from facaded.policy.failover import Place, Selector
from facaded.policy.health import ProbeDepth, Purpose, Result, Settings
from facaded.policy.overrides import Overrides
from facaded.policy.proofs import Proofs


@frozen
class Identity:
    """What a backend is known by after a reload or a restart: its URL, whatever its name.

    `canary` is the canary image by the backend's name, or empty. What is known about another canary is forgotten.
    """

    url: str
    canary: str = ""


@frozen
class WatchedBackend:
    """One backend to probe.

    After a reload, a backend with an equal `identity` and `manner` is probed in the same way. `probe` sends one probe,
    and `check` one check, which calls its second argument after each proof; nothing in policy/ calls them. Both note
    in `proofs` what they find. `canary` is the canary image by the facade's name, or empty.
    """

    identity: Identity
    probe: Callable[[ProbeDepth], Awaitable[Result]] = field(eq=False)
    canary: str = ""
    manner: tuple[object, ...] = ()
    check: Callable[[ProbeDepth, Callable[[], None]], Awaitable[Result]] | None = field(default=None, eq=False)
    proofs: Proofs = field(factory=Proofs, eq=False)


@frozen
class Plan:
    """What the watch does, built from the settings.

    `backends` are those that a route has. `routes` are the names of each route's backends, preferred first. `handover`
    and `trust` are in seconds; a `trust` of 0 disables checks on demand. `ping_target` is called with the active
    backend for redirects of each route, and returns where `GET /v2/` leads a client whose only source of a token it is.
    `serves` is whether any client is served, which a limited backend cannot do.
    """

    backends: Mapping[str, WatchedBackend]
    routes: tuple[tuple[str, ...], ...]
    settings: Settings
    handover: float = 0.0
    ping_target: Callable[[tuple[str, ...]], str] = field(default=" ".join, eq=False)
    trust: float = 0.0
    serves: bool = True

    @property
    def canaries(self) -> dict[str, str]:
        """The canary image of each backend that has one."""
        return {name: backend.canary for name, backend in self.backends.items() if backend.canary}

    def selectors(self, overrides: Overrides) -> dict[Place, Selector]:
        """Return the selector of each place."""
        return {
            (route, purpose): Selector(route, self.settings.failback_after, purpose, overrides)
            for route in self.routes
            for purpose in Purpose
        }

    @property
    def identities(self) -> dict[str, Identity]:
        """The identity of each backend."""
        return {name: backend.identity for name, backend in self.backends.items()}

    def unchanged_since(self, before: "Plan") -> set[str]:
        """Return the backends that are the same as in `before` and are probed in the same way."""
        return {name for name, backend in self.backends.items() if before.backends.get(name) == backend}


def successors(before: Mapping[str, Identity], after: Mapping[str, Identity]) -> dict[str, str]:
    """Return the new name of each backend whose URL remains, by its old name.

    If several backends have the same URL, those that can keep their names do. Of the others, those with the same canary
    are paired first, in the order of the settings.
    """
    names: dict[str, str] = {}
    candidates = [(old, new) for old in before for new in after if before[old].url == after[new].url]
    for old, new in sorted(candidates, key=lambda pair: (pair[0] != pair[1], before[pair[0]] != after[pair[1]])):
        if old not in names and new not in names.values():
            names[old] = new
    return names
