"""Renaming: the state of the watch when its backends get other names, because the settings changed.

Pure. A backend is known by its URL: whatever belongs to it follows the URL to its new name. Arguments called `names`
have the new name of each backend that remains, by its old name; see `plan.successors`.
"""

from collections.abc import Mapping

from attrs import evolve

from facaded.policy.failover import ActiveBackend
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState


def rename_snapshot(snapshot: Snapshot, names: Mapping[str, str]) -> Snapshot:
    """Return the snapshot with the new names in its plan and in its state. Only the backends that remain are in it."""
    plan = snapshot.plan
    backends = {names[name]: backend for name, backend in plan.backends.items() if name in names}
    routes = tuple(_rename_route(route, names) for route in plan.routes)
    renamed_plan = evolve(plan, backends=backends, routes=routes)
    return evolve(snapshot, plan=renamed_plan, watch_state=rename_state(snapshot.watch_state, names))


def rename_state(watch_state: WatchState, names: Mapping[str, str]) -> WatchState:
    """Return the state with the new names. The health and the active places of other backends are removed.

    Their overrides are still in it, so that their end is news; `Overrides.only` removes them.
    """
    healths = {names[name]: health for name, health in watch_state.healths.items() if name in names}
    active = {
        (_rename_route(route, names), purpose): ActiveBackend(names[place.backend], place.since)
        for (route, purpose), place in watch_state.active.items()
        if place.backend in names
    }
    return evolve(watch_state, healths=healths, active=active, overrides=watch_state.overrides.renamed(names))


def _rename_route(route: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the route with the new names. A backend that is gone keeps its place, unless another has its name now."""
    gone = {name for name in route if name not in names and name not in names.values()}
    return tuple(names.get(name, name) for name in route if name in names or name in gone)
