"""The status document, and how a person reads it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from facaded import __version__
from facaded.backends.watch import Watch
from facaded.policy.health import Health, Result, State

COLUMNS = ("BACKEND", "STATE", "SINCE", "LAST FAILED STEP", "URL")


def document(
    watch: Watch, urls: Mapping[str, str], source: str, warnings: tuple[str, ...], wall: Callable[[float], float]
) -> dict[str, Any]:
    """What the daemon knows, as JSON has it.

    `urls` names all backends, preferred first, those included that may not stand in. `wall` turns a monotonic time
    into seconds since the epoch; all times in the document are that, all durations seconds.
    """
    charge = watch.charge
    return {
        "version": __version__,
        "settings": source,
        "warnings": list(warnings),
        "in_charge": charge.backend,
        "in_charge_since": wall(charge.since),
        "why": watch.explain(),
        "backends": [
            {"name": name, "url": url, **_backend(watch.standing.healths.get(name), wall)} for name, url in urls.items()
        ],
    }


def table(status: Mapping[str, Any]) -> str:
    """The status document for a terminal.

    A table of the backends, who is in charge and why, and what there is to know.
    """
    rows = [COLUMNS, *(_row(backend) for backend in status["backends"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    warnings = [f"warning: {warning}" for warning in status["warnings"]]
    return "\n".join([*lines, "", status["why"], *warnings])


def is_bad_news(status: Mapping[str, Any]) -> bool:
    """Whether a backend that may be in charge is down."""
    return any(backend["state"] == State.DOWN.value for backend in status["backends"])


def _backend(health: Health | None, wall: Callable[[float], float]) -> dict[str, Any]:
    if health is None:
        return {"state": None, "since": None, "last": None, "failed": None}
    failed_at = None if health.failed_at is None else wall(health.failed_at)
    return {
        "state": health.state.value,
        "since": wall(health.since),
        "last": result(health.last),
        "failed": {**result(health.failed), "at": failed_at} if health.failed else None,
    }


def result(found: Result | None) -> dict[str, Any]:
    """A probe's result as JSON has it; empty if there is none."""
    if found is None:
        return {}
    return {
        "verdict": found.verdict.value,
        "step": found.step.value,
        "words": found.words,
        "latency": round(found.latency, 4),
    }


def _row(backend: Mapping[str, Any]) -> tuple[str, ...]:
    if backend["state"] is None:
        return backend["name"], "not used", "-", "-", backend["url"]
    failed = backend["failed"]
    said = f"{failed['step']}: {failed['words']} ({_written(failed['at'])})" if failed else "-"
    return backend["name"], backend["state"], _written(backend["since"]), said, backend["url"]


def _written(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S")
