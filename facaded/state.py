"""The state file: what must outlive the daemon, so that a restart in the middle of an outage is not the end of what
was known.

Times are written by the wall clock, for a person and for the next boot, and kept as monotonic seconds in the daemon.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from facaded.backends.watch import FORGOTTEN, Standing
from facaded.net.text import printable
from facaded.policy.failover import Charge
from facaded.policy.health import MOST_RELAPSES, Health, Purpose, Result, State, Step, Verdict, remembered
from facaded.policy.overrides import LONGEST, Override, Overrides

FILE = "state.json"
VERSION = 2

FILE_SIZE = 1 << 20
"""Bytes of a state file that are read: a whole one has a few kilobytes."""

LATEST = 253402300799.0
"""Seconds since the epoch at the end of the year 9999: no later time can be shown."""

SET_ASIDE = 100
"""Unreadable files that are kept beside the state file.

With more than that, something else is wrong and the state is not written.
"""


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
class Known:
    """What makes a backend of the settings the one that a state was kept of: its URL, and which canary it was asked."""

    url: str
    canary: str = ""


@frozen
class Kept:
    """What a state file held: a standing to start from if there is one, and a sentence if something was wrong."""

    standing: Standing | None = None
    warning: str | None = None
    writable: bool = True


def read(directory: Path, backends: Mapping[str, Known], clocks: Clocks) -> Kept:
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


def write(directory: Path, standing: Standing, backends: Mapping[str, Known], clocks: Clocks) -> None:
    """Write the state whole: a reader sees the old file or the new one, whenever the machine stops.

    Raises OSError if it cannot be written; then the old file is as it was.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / FILE
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(_document(standing, backends, clocks), file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _document(standing: Standing, backends: Mapping[str, Known], clocks: Clocks) -> dict[str, Any]:
    return {
        "version": VERSION,
        "written": clocks.wall,
        "pinged": standing.pinged,
        "changed": _wall(standing.changed, clocks),
        "pins": _overrides(standing.overrides.pins, clocks),
        "drains": _overrides(standing.overrides.drains, clocks),
        "charges": [
            {
                "route": list(route),
                "purpose": purpose.value,
                "backend": each.backend,
                "since": clocks.to_wall(each.since),
            }
            for (route, purpose), each in standing.charges.items()
        ],
        "backends": {
            name: {"url": backends[name].url, "canary": backends[name].canary, **_backend(each, clocks)}
            for name, each in standing.healths.items()
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
        "proven": each.proven,
        "hurdle": each.hurdle.value if each.hurdle else None,
        "failed": _failed(each, clocks),
    }


def _failed(each: Health, clocks: Clocks) -> dict[str, Any] | None:
    if each.failed is None or each.failed_at is None:
        return None
    return {
        "verdict": each.failed.verdict.value,
        "step": each.failed.step.value,
        "words": each.failed.words,
        "at": clocks.to_wall(each.failed_at),
    }


def _standing(document: Any, backends: Mapping[str, Known], clocks: Clocks) -> Standing:
    if document["version"] != VERSION:
        raise ValueError("another version")
    healths = {
        name: _health(each, each["canary"] == backends[name].canary, clocks)
        for name, each in document["backends"].items()
        if name in backends and each["url"] == backends[name].url
    }
    charges = {
        (tuple(map(str, each["route"])), Purpose(each["purpose"])): Charge(
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
    return Standing(healths, charges, overrides, pinged, _moment_or_none(document["changed"], clocks))


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
        proven=bool(kept["proven"]) and same_canary,
        hurdle=Step(kept["hurdle"]) if kept["hurdle"] else None,
    )
    if (failed := kept["failed"]) is not None:
        result = Result(Verdict(failed["verdict"]), Step(failed["step"]), printable(str(failed["words"])), latency=0.0)
        health = evolve(health, failed=result, failed_at=_moment(failed["at"], clocks))
    return remembered(health)


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
    forgotten = Standing({}, {}, pinged=FORGOTTEN)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = [f"{path.name}.unreadable-{stamp}{f'-{count}' if count else ''}" for count in range(SET_ASIDE)]
    aside = next((path.with_name(name) for name in names if not os.path.lexists(path.with_name(name))), None)
    try:
        if aside is None:
            raise OSError("too many such files")
        path.rename(aside)
    except OSError as error:
        reason = error.strerror or error
        return Kept(
            forgotten, f"{path} {why}, and cannot be set aside ({reason}): the state is not kept", writable=False
        )
    return Kept(forgotten, f"{path} {why}: set aside as {aside.name}, and the backends are probed anew")
