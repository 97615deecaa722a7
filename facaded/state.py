"""The state file: what must outlive the daemon, so that a restart in the middle of an outage is not the end of what
was known.

Times are written by the wall clock, for a person and for the next boot, and kept as monotonic seconds in the daemon.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded import files
from facaded.backends.watch import Watch
from facaded.net.text import printable
from facaded.policy.changes import Change
from facaded.policy.failover import ActiveBackend
from facaded.policy.health import MOST_RELAPSES, Health, Purpose, Result, State, Step, Verdict, restore
from facaded.policy.overrides import LONGEST, Override, Overrides
from facaded.policy.watch_state import FORGOTTEN, WatchState

FILE = "state.json"
VERSION = 2

FILE_SIZE = 1 << 20
"""Bytes of a state file that are read: a whole one has a few kilobytes."""

LATEST = 253402300799.0
"""Seconds since the epoch at the end of the year 9999: no later time can be shown."""


class StateError(Exception):
    """There is no place for the state. The text is one sentence that says why and what to do."""


@frozen
class Clocks:
    """The time by both clocks at one moment: `wall` in seconds since the epoch, `monotonic` in the daemon's seconds."""

    wall: float
    monotonic: float

    def to_wall(self, monotonic: float) -> float:
        """Never before the epoch, whatever the clock says: such a time could not be read back."""
        return max(self.wall + (monotonic - self.monotonic), 0.0)

    def to_monotonic(self, wall: float) -> float:
        """A time that is said to lie in the future, by a clock that was wrong, is now."""
        return self.monotonic + min(wall - self.wall, 0.0)

    def to_end(self, wall: float, since: float) -> float:
        """A time that may lie in the future, but no further than it did when it was set, at `since` by the wall."""
        return self.monotonic + min(wall - self.wall, wall - since, LONGEST)


@frozen
class Identity:
    """What makes a backend of the settings the one that a state was kept of: its URL, and which canary it was asked."""

    url: str
    canary: str = ""


@frozen
class Kept:
    """What a state file held: a watch_state to start from if there is one, and a sentence if something was wrong."""

    watch_state: WatchState | None = None
    warning: str | None = None
    writable: bool = True


class StateStore(Service):
    """Keeps the state file: read before there is a watch, then written after every change of it and at the stop.

    `clock` gives monotonic seconds, `wall` those since the epoch. `backends` are those of the settings. `kept` says
    whether what is known now outlives a restart. Stop it after the watch: it writes the last watch_state.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, wall: Callable[[], float], directory: Path, backends: Mapping[str, Identity]
    ) -> None:
        self.kept = True
        self._clock = clock
        self._wall = wall
        self._directory = directory
        self._backends = backends
        self._writable = True
        self._watch: Watch | None = None

    def read(self) -> WatchState | None:
        """Return what an earlier run knew, if it left anything. Raises StateError if there is no place for the state.

        A state file that can neither be read nor set aside is never overwritten.
        """
        try:
            files.make_directory(self._directory)
        except OSError as error:
            why = f"{self._directory} cannot be made ({error.strerror})"
            raise StateError(f"state.directory: {why}: name another") from None
        kept = read(self._directory, self._backends, self._clocks())
        if kept.warning:
            self._log.warn("{warning}", warning=kept.warning)
        self.kept = self._writable = kept.writable
        return kept.watch_state

    def follow(self, watch: Watch) -> None:
        """Write what this watch knows: after every change, after its first round, and at the stop."""
        self._watch = watch
        watch.subscribe(self._changed)
        watch.when_settled().addCallback(lambda _: self._keep(watch.watch_state))

    def reconfigure(self, directory: Path, backends: Mapping[str, Identity]) -> None:
        """Go on by other settings. Call it before the watch gets its new plan: that change is the first to be written.

        Until then the watch_state may have backends that these settings do not have.
        """
        self._directory = directory
        self._backends = backends

    def stopService(self) -> None:
        Service.stopService(self)
        if self._watch is not None:
            self._keep(self._watch.watch_state)

    def _changed(self, change: Change) -> None:
        self._keep(change.watch_state)

    def _keep(self, watch_state: WatchState) -> None:
        self.kept = False
        if not self._writable:
            return
        try:
            write(self._directory, watch_state, self._backends, self._clocks())
        except OSError as error:
            self._log.warn("the state cannot be written ({why}); it is kept in memory", why=error.strerror)
        else:
            self.kept = True

    def _clocks(self) -> Clocks:
        return Clocks(self._wall(), self._clock.seconds())


def read(directory: Path, backends: Mapping[str, Identity], clocks: Clocks) -> Kept:
    """Read the state of an earlier run, of those backends that still have the same URL. Never raises.

    A file that cannot be understood is renamed, never overwritten; if that fails too, `writable` is false. Then it
    is not known what clients were told, and they are dealt with as if it had been something else.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE + 1)
        return Kept(_standing(json.loads(data), backends, clocks))
    except FileNotFoundError:
        return Kept()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return _set_aside(path, "does not hold a state that can be read")
    except OSError as error:
        return _set_aside(path, f"cannot be read ({error.strerror})")


def write(directory: Path, watch_state: WatchState, backends: Mapping[str, Identity], clocks: Clocks) -> None:
    """Write the state whole: a reader sees the old file or the new one, whenever the machine stops.

    Raises OSError if it cannot be written; then the old file is as it was.
    """
    files.make_directory(directory)
    content = json.dumps(_document(watch_state, backends, clocks), indent=1)
    files.replace(directory / FILE, f"{content}\n".encode())


def _document(watch_state: WatchState, backends: Mapping[str, Identity], clocks: Clocks) -> dict[str, Any]:
    return {
        "version": VERSION,
        "written": clocks.wall,
        "pinged": watch_state.last_ping_target,
        "changed": _wall(watch_state.ping_target_changed_at, clocks),
        "pins": _overrides(watch_state.overrides.pins, clocks),
        "drains": _overrides(watch_state.overrides.drains, clocks),
        "charges": [
            {
                "route": list(route),
                "purpose": purpose.value,
                "backend": each.backend,
                "since": clocks.to_wall(each.since),
            }
            for (route, purpose), each in watch_state.active.items()
        ],
        "backends": {
            name: {"url": backends[name].url, "canary": backends[name].canary, **_backend(each, clocks)}
            for name, each in watch_state.healths.items()
        },
    }


def _overrides(overrides: Mapping[str, Override], clocks: Clocks) -> dict[str, Any]:
    return {
        name: {"since": clocks.to_wall(each.since), "until": _wall(each.until, clocks)}
        for name, each in overrides.items()
    }


def _backend(each: Health, clocks: Clocks) -> dict[str, Any]:
    return {
        "state": each.state.value,
        "since": clocks.to_wall(each.since),
        "back": _wall(each.back_at, clocks),
        "relapses": each.relapses,
        "proven": each.canary_seen,
        "hurdle": each.deepest_failed_step.value if each.deepest_failed_step else None,
        "failed": _failed(each, clocks),
    }


def _failed(each: Health, clocks: Clocks) -> dict[str, Any] | None:
    if each.failed is None or each.failed_at is None:
        return None
    return {
        "verdict": each.failed.verdict.value,
        "step": each.failed.step.value,
        "words": each.failed.reason,
        "at": clocks.to_wall(each.failed_at),
    }


def _standing(document: Any, backends: Mapping[str, Identity], clocks: Clocks) -> WatchState:
    if document["version"] != VERSION:
        raise ValueError("another version")
    healths = {
        name: _health(each, each["canary"] == backends[name].canary, clocks)
        for name, each in document["backends"].items()
        if name in backends and each["url"] == backends[name].url
    }
    active = {
        (tuple(map(str, each["route"])), Purpose(each["purpose"])): ActiveBackend(
            each["backend"], _moment(each["since"], clocks)
        )
        for each in document["charges"]
        if each["backend"] in healths
    }
    pinged = document["pinged"]
    if not isinstance(pinged, str | None):
        raise TypeError("not a place")
    overrides = Overrides(_kept_overrides(document["pins"], clocks), _kept_overrides(document["drains"], clocks))
    if len(overrides.pins) > 1 or overrides.pins.keys() & overrides.drains.keys():
        raise ValueError("a contradiction")
    return WatchState(healths, active, overrides, pinged, _moment_or_none(document["changed"], clocks))


def _kept_overrides(kept: Any, clocks: Clocks) -> dict[str, Override]:
    return {
        name: Override(_moment(each["since"], clocks), _end(each["until"], each["since"], clocks))
        for name, each in kept.items()
    }


def _health(kept: Any, same_canary: bool, clocks: Clocks) -> Health:
    relapses = kept["relapses"]
    if type(relapses) is not int or not 0 <= relapses <= MOST_RELAPSES:
        raise ValueError("not a count of relapses")
    health = Health(
        State(kept["state"]),
        _moment(kept["since"], clocks),
        back_at=_moment_or_none(kept["back"], clocks),
        relapses=relapses,
        canary_seen=bool(kept["proven"]) and same_canary,
        deepest_failed_step=Step(kept["hurdle"]) if kept["hurdle"] else None,
    )
    if (failed := kept["failed"]) is not None:
        result = Result(Verdict(failed["verdict"]), Step(failed["step"]), printable(str(failed["words"])), latency=0.0)
        health = evolve(health, failed=result, failed_at=_moment(failed["at"], clocks))
    return restore(health)


def _wall(monotonic: float | None, clocks: Clocks) -> float | None:
    return None if monotonic is None else clocks.to_wall(monotonic)


def _moment(wall: Any, clocks: Clocks) -> float:
    return clocks.to_monotonic(_time(wall))


def _moment_or_none(wall: Any, clocks: Clocks) -> float | None:
    return None if wall is None else _moment(wall, clocks)


def _end(wall: Any, since: Any, clocks: Clocks) -> float | None:
    return None if wall is None else clocks.to_end(_time(wall), _time(since))


def _time(wall: Any) -> float:
    if not 0 <= wall <= LATEST:
        raise ValueError("not a time")
    return float(wall)


def _set_aside(path: Path, why: str) -> Kept:
    forgotten = WatchState({}, {}, last_ping_target=FORGOTTEN)
    try:
        aside = files.set_aside(path, "unreadable")
    except OSError as error:
        unkept = f"{path} {why}, and cannot be set aside ({error.strerror or error}): the state is not kept"
        return Kept(forgotten, unkept, writable=False)
    return Kept(forgotten, f"{path} {why}: set aside as {aside.name}, and the backends are probed anew")
