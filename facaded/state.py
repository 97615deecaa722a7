"""The state file: the backends' health, the active backends and the overrides, for a restart during an outage.

Its times are seconds since the epoch, because they must survive a reboot; the daemon uses monotonic seconds.
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
from facaded.policy.health import (
    LONGEST_RETRY_AFTER,
    MOST_RELAPSES,
    Damping,
    Degradation,
    Health,
    Purpose,
    Result,
    State,
    Step,
    Verdict,
    restore,
)
from facaded.policy.overrides import LONGEST, REASON_LENGTH, Override, Overrides
from facaded.policy.plan import Identity, successors
from facaded.policy.renaming import rename_state
from facaded.policy.samples import Count
from facaded.policy.watch_state import FORGOTTEN, WatchState, forget_canary

FILE = "state.json"
VERSION = 2

FILE_SIZE = 1 << 20
"""The most bytes that are read: a state file has a few kilobytes."""

LARGEST_COUNT = 10**9
"""More samples than a window can have."""

LATEST = 253402300799.0
"""The end of the year 9999 in seconds since the epoch: Python can show no later time."""


class StateError(Exception):
    """The state directory cannot be used. The text is one sentence with the reason and the remedy."""


@frozen
class Clocks:
    """The time by both clocks at one moment: `wall` in seconds since the epoch, and `monotonic` seconds."""

    wall: float
    monotonic: float

    def to_wall(self, monotonic: float) -> float:
        """Convert a time for the file. It is never before the epoch: such a time could not be read back."""
        return max(self.wall + (monotonic - self.monotonic), 0.0)

    def to_monotonic(self, wall: float) -> float:
        """Convert a time from the file. A future time, which a wrong clock wrote, becomes the present."""
        return self.monotonic + min(wall - self.wall, 0.0)

    def to_end(self, wall: float, since: float) -> float:
        """Convert the end of an override that began at `since`. A wrong clock does not lengthen the override."""
        return self.monotonic + min(wall - self.wall, wall - since, LONGEST)


@frozen
class SavedState:
    """The content of a state file, if there is one, and a warning if something is wrong with it.

    `writable` is False if the file must not be overwritten.
    """

    watch_state: WatchState | None = None
    warning: str | None = None
    writable: bool = True


class StateStore(Service):
    """Reads the state file at the start, then writes it after every change of the watch and when it stops.

    `clock` has monotonic seconds, `wall` returns seconds since the epoch. `backends` are those of the settings. `kept`
    says whether the latest state has been written. Stop the store after the watch: it writes the last state.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, wall: Callable[[], float], directory: Path, backends: Mapping[str, Identity]
    ) -> None:
        self.saved = True
        self._clock = clock
        self._wall = wall
        self._directory = directory
        self._backends = backends
        self._writable = True
        self._watch: Watch | None = None

    def read(self) -> WatchState | None:
        """Return the state of an earlier run, if there is one. Raises StateError if the directory cannot be created.

        A state file that can neither be read nor set aside is never overwritten.
        """
        try:
            files.make_directory(self._directory)
        except OSError as error:
            reason = f"{self._directory} cannot be created ({error.strerror})"
            raise StateError(f"state.directory: {reason}: choose another directory") from None
        saved = read(self._directory, self._backends, self._clocks())
        if saved.warning:
            self._log.warn("{warning}", warning=saved.warning)
        self.saved = self._writable = saved.writable
        return saved.watch_state

    def follow(self, watch: Watch) -> None:
        """Write the state of this watch after every change, after its first round of probes, and when it stops."""
        self._watch = watch
        watch.subscribe(self._write_change)
        watch.when_settled().addCallback(lambda _: self._save(watch.watch_state))

    def reconfigure(self, directory: Path, backends: Mapping[str, Identity]) -> None:
        """Use new settings. Call it before the watch gets its new plan, whose change is the first to be written.

        Until then the watch may have backends that these settings do not have.
        """
        self._directory = directory
        self._backends = backends

    def stopService(self) -> None:
        Service.stopService(self)
        if self._watch is not None:
            self._save(self._watch.watch_state)

    def _write_change(self, change: Change) -> None:
        self._save(change.watch_state)

    def _save(self, watch_state: WatchState) -> None:
        self.saved = False
        if not self._writable:
            return
        try:
            write(self._directory, watch_state, self._backends, self._clocks())
        except OSError as error:
            self._log.warn("the state cannot be written ({reason}), so a restart loses it", reason=error.strerror)
        else:
            self.saved = True

    def _clocks(self) -> Clocks:
        return Clocks(self._wall(), self._clock.seconds())


def read(directory: Path, backends: Mapping[str, Identity], clocks: Clocks) -> SavedState:
    """Read the state of an earlier run, for backends that still have the same URL. Never raises.

    `backends` are those of the settings; the state has their names, whatever the names were in the earlier run.
    A file that cannot be read is renamed, never overwritten; if that fails too, `writable` is False. Where clients were
    redirected to is then unknown, so pulls in progress are treated as if it had changed.
    """
    path = directory / FILE
    try:
        data = files.read_regular(path, FILE_SIZE + 1)
        return SavedState(_watch_state(json.loads(data), backends, clocks))
    except FileNotFoundError:
        return SavedState()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return _set_aside(path, "is not a state file", clocks)
    except OSError as error:
        return _set_aside(path, f"cannot be read ({error.strerror})", clocks)


def write(directory: Path, watch_state: WatchState, backends: Mapping[str, Identity], clocks: Clocks) -> None:
    """Write the state file atomically. Raises OSError; then the old file is unchanged."""
    files.make_directory(directory)
    content = json.dumps(_document(watch_state, backends, clocks), indent=1)
    files.replace(directory / FILE, f"{content}\n".encode())


def _document(watch_state: WatchState, backends: Mapping[str, Identity], clocks: Clocks) -> dict[str, Any]:
    return {
        "version": VERSION,
        "written": clocks.wall,
        "pinged": watch_state.last_ping_target,
        "changed": _wall_or_none(watch_state.ping_target_changed_at, clocks),
        "pins": _overrides_document(watch_state.overrides.pins, clocks),
        "drains": _overrides_document(watch_state.overrides.drains, clocks),
        "charges": [
            {
                "route": list(route),
                "purpose": purpose.value,
                "backend": active.backend,
                "since": clocks.to_wall(active.since),
            }
            for (route, purpose), active in watch_state.active.items()
        ],
        "backends": {
            name: {"url": backends[name].url, "canary": backends[name].canary, **_health_document(health, clocks)}
            for name, health in watch_state.healths.items()
        },
    }


def _overrides_document(overrides: Mapping[str, Override], clocks: Clocks) -> dict[str, Any]:
    return {
        name: {
            "since": clocks.to_wall(override.since),
            "until": _wall_or_none(override.until, clocks),
            **({"reason": override.reason} if override.reason else {}),
        }
        for name, override in overrides.items()
    }


def _health_document(health: Health, clocks: Clocks) -> dict[str, Any]:
    return {
        "state": health.state.value,
        "since": clocks.to_wall(health.since),
        "back": _wall_or_none(health.damping.back_at, clocks),
        "relapses": health.damping.relapses,
        "limit_back": _wall_or_none(health.limit_damping.back_at, clocks),
        "limit_relapses": health.limit_damping.relapses,
        "degraded": _degradation_document(health.degraded, clocks),
        "body": _wall_or_none(health.body_at, clocks),
        "retry": _wall_or_none(health.retry_at, clocks),
        "proven": health.canary_seen,
        "hurdle": health.deepest_failed_step.value if health.deepest_failed_step else None,
        "failed": _failure_document(health, clocks),
    }


def _degradation_document(degraded: Degradation | None, clocks: Clocks) -> dict[str, Any] | None:
    if degraded is None:
        return None
    count = degraded.count
    return {
        "since": clocks.to_wall(degraded.since),
        "step": degraded.step.value,
        "sent": count.sent,
        "failed": count.failed,
        "window": count.window,
    }


def _failure_document(health: Health, clocks: Clocks) -> dict[str, Any] | None:
    if health.failed is None or health.failed_at is None:
        return None
    return {
        "verdict": health.failed.verdict.value,
        "step": health.failed.step.value,
        "words": health.failed.reason,
        "at": clocks.to_wall(health.failed_at),
    }


def _watch_state(document: Any, backends: Mapping[str, Identity], clocks: Clocks) -> WatchState:
    """Read a document. Raises ValueError, or what Python raises for a value of another type."""
    if document["version"] != VERSION:
        raise ValueError("another version")
    saved = {name: Identity(entry["url"], entry["canary"]) for name, entry in document["backends"].items()}
    names = successors(saved, backends)
    healths = {
        name: _health(document["backends"][name], saved[name].canary == backends[successor].canary, clocks)
        for name, successor in names.items()
    }
    active = {
        (tuple(map(str, entry["route"])), Purpose(entry["purpose"])): ActiveBackend(
            entry["backend"], _read_time(entry["since"], clocks)
        )
        for entry in document["charges"]
        if entry["backend"] in healths
    }
    ping_target = document["pinged"]
    if not isinstance(ping_target, str | None):
        raise TypeError("not a URL")
    overrides = Overrides(_overrides(document["pins"], clocks), _overrides(document["drains"], clocks))
    if len(overrides.pins) > 1 or overrides.pins.keys() & overrides.drains.keys():
        raise ValueError("overrides that contradict each other")
    changed_at = _to_monotonic_or_none(document["changed"], clocks)
    renamed = rename_state(WatchState(healths, active, overrides, ping_target, changed_at), names)
    return evolve(renamed, overrides=renamed.overrides.only(set(names.values())))


def _overrides(entries: Any, clocks: Clocks) -> dict[str, Override]:
    return {
        name: Override(
            _read_time(entry["since"], clocks),
            _end(entry["until"], entry["since"], clocks),
            printable(str(entry.get("reason", "")), REASON_LENGTH),
        )
        for name, entry in entries.items()
    }


def _health(entry: Any, same_canary: bool, clocks: Clocks) -> Health:
    health = Health(
        State(entry["state"]),
        _read_time(entry["since"], clocks),
        damping=_damping(entry["back"], entry["relapses"], clocks),
        limit_damping=_damping(entry.get("limit_back"), entry.get("limit_relapses", 0), clocks),
        degraded=_degradation(entry.get("degraded"), clocks),
        body_at=_to_monotonic_or_none(entry.get("body"), clocks),
        retry_at=_retry_at(entry.get("retry"), clocks),
        canary_seen=bool(entry["proven"]),
        deepest_failed_step=Step(entry["hurdle"]) if entry["hurdle"] else None,
    )
    if (failed := entry["failed"]) is not None:
        result = Result(Verdict(failed["verdict"]), Step(failed["step"]), printable(str(failed["words"])), latency=0.0)
        health = evolve(health, failed=result, failed_at=_read_time(failed["at"], clocks))
    return restore(health if same_canary else forget_canary(health))


def _damping(back: Any, relapses: Any, clocks: Clocks) -> Damping:
    if type(relapses) is not int or not 0 <= relapses <= MOST_RELAPSES:
        raise ValueError("not a number of relapses")
    return Damping(_to_monotonic_or_none(back, clocks), relapses)


def _degradation(entry: Any, clocks: Clocks) -> Degradation | None:
    if entry is None:
        return None
    count = Count(_whole(entry["sent"]), _whole(entry["failed"]), float(_whole(int(entry["window"]))))
    return Degradation(_read_time(entry["since"], clocks), Step(entry["step"]), count)


def _whole(number: Any) -> int:
    if type(number) is not int or not 0 <= number < LARGEST_COUNT:
        raise ValueError("not a number of requests")
    return number


def _retry_at(wall: Any, clocks: Clocks) -> float | None:
    """Return when a Retry-After ends. A wrong clock does not lengthen it over the longest one."""
    return None if wall is None else clocks.monotonic + min(_time(wall) - clocks.wall, LONGEST_RETRY_AFTER)


def _wall_or_none(monotonic: float | None, clocks: Clocks) -> float | None:
    return None if monotonic is None else clocks.to_wall(monotonic)


def _read_time(wall: Any, clocks: Clocks) -> float:
    return clocks.to_monotonic(_time(wall))


def _to_monotonic_or_none(wall: Any, clocks: Clocks) -> float | None:
    return None if wall is None else _read_time(wall, clocks)


def _end(wall: Any, since: Any, clocks: Clocks) -> float | None:
    return None if wall is None else clocks.to_end(_time(wall), _time(since))


def _time(wall: Any) -> float:
    if not 0 <= wall <= LATEST:
        raise ValueError("not a time")
    return float(wall)


def _set_aside(path: Path, problem: str, clocks: Clocks) -> SavedState:
    unknown = WatchState({}, {}, last_ping_target=FORGOTTEN)
    try:
        aside = files.set_aside(path, "unreadable", clocks.wall)
    except OSError as error:
        remedy = f"it cannot be set aside ({error.strerror or error}), so the state is not saved: move it away"
        return SavedState(unknown, f"{path} {problem}, and {remedy}", writable=False)
    return SavedState(unknown, f"{path} {problem}: set aside as {aside.name}; all backends start as unknown")
