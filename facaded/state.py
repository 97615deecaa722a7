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

from facaded.backends.registry import printable
from facaded.backends.watch import Standing
from facaded.policy.failover import Charge
from facaded.policy.health import Health, Purpose, Result, State, Step, Verdict, remembered

FILE = "state.json"
VERSION = 1

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
        return self.wall + (monotonic - self.monotonic)

    def to_monotonic(self, wall: float) -> float:
        """A time that is said to lie in the future, by a clock that was wrong, is now."""
        return self.monotonic + min(wall - self.wall, 0.0)


@frozen
class Kept:
    """What a state file held: a standing to start from if there is one, and a sentence if something was wrong."""

    standing: Standing | None = None
    warning: str | None = None
    writable: bool = True


def read(directory: Path, urls: Mapping[str, str], clocks: Clocks) -> Kept:
    """Read the state of an earlier run, of those backends that still have the same URL. Never raises.

    A file that cannot be understood is renamed, never overwritten; if that fails too, `writable` is false.
    """
    path = directory / FILE
    try:
        with path.open("rb") as file:
            data = file.read(FILE_SIZE + 1)
        return Kept(_standing(json.loads(data), urls, clocks))
    except FileNotFoundError:
        return Kept()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return _set_aside(path, "does not hold a state that can be read")
    except OSError as error:
        return _set_aside(path, f"cannot be read ({error.strerror})")


def write(directory: Path, standing: Standing, urls: Mapping[str, str], clocks: Clocks) -> None:
    """Write the state whole: a reader sees the old file or the new one, whenever the machine stops.

    Raises OSError if it cannot be written; then the old file is as it was.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / FILE
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(_document(standing, urls, clocks), file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _document(standing: Standing, urls: Mapping[str, str], clocks: Clocks) -> dict[str, Any]:
    return {
        "version": VERSION,
        "written": clocks.wall,
        "changed": None if standing.changed is None else clocks.to_wall(standing.changed),
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
            name: {
                "url": urls[name],
                "state": each.state.value,
                "since": clocks.to_wall(each.since),
                "failed": _failed(each, clocks),
            }
            for name, each in standing.healths.items()
        },
    }


def _standing(document: Any, urls: Mapping[str, str], clocks: Clocks) -> Standing:
    if document["version"] != VERSION:
        raise ValueError("another version")
    healths = {
        name: _health(each, clocks)
        for name, each in document["backends"].items()
        if name in urls and each["url"] == urls[name]
    }
    charges = {
        (tuple(map(str, each["route"])), Purpose(each["purpose"])): Charge(
            each["backend"], _moment(each["since"], clocks)
        )
        for each in document["charges"]
        if each["backend"] in healths
    }
    changed = document["changed"]
    return Standing(healths, charges, None if changed is None else _moment(changed, clocks))


def _failed(each: Health, clocks: Clocks) -> dict[str, Any] | None:
    if each.failed is None or each.failed_at is None:
        return None
    return {
        "verdict": each.failed.verdict.value,
        "step": each.failed.step.value,
        "words": each.failed.words,
        "at": clocks.to_wall(each.failed_at),
    }


def _health(kept: Any, clocks: Clocks) -> Health:
    health = Health(State(kept["state"]), _moment(kept["since"], clocks))
    if (failed := kept["failed"]) is not None:
        result = Result(Verdict(failed["verdict"]), Step(failed["step"]), printable(str(failed["words"])), latency=0.0)
        health = evolve(health, failed=result, failed_at=_moment(failed["at"], clocks))
    return remembered(health)


def _moment(wall: Any, clocks: Clocks) -> float:
    if not 0 <= wall <= LATEST:
        raise ValueError("not a time")
    return clocks.to_monotonic(float(wall))


def _set_aside(path: Path, why: str) -> Kept:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = [f"{path.name}.unreadable-{stamp}{f'-{count}' if count else ''}" for count in range(SET_ASIDE)]
    aside = next((path.with_name(name) for name in names if not os.path.lexists(path.with_name(name))), None)
    try:
        if aside is None:
            raise OSError("too many such files")
        path.rename(aside)
    except OSError as error:
        reason = error.strerror or error
        return Kept(None, f"{path} {why}, and cannot be set aside ({reason}): the state is not kept", writable=False)
    return Kept(None, f"{path} {why}: set aside as {aside.name}, and the backends are probed anew")
