"""The status document, and how a person reads it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from facaded import __version__
from facaded.backends.quotas import Quotas
from facaded.backends.watch import Watch
from facaded.policy.answers import Rules
from facaded.policy.failover import spell
from facaded.policy.health import Health, Purpose, Quota, Result, State
from facaded.policy.overrides import Override
from facaded.policy.snapshot import Snapshot

COLUMNS = ("BACKEND", "STATE", "SINCE", "LAST FAILED STEP", "URL")

_OF_BACKEND = ("state", "since", "last", "failed", "drift", "drained", "limited_until", "relapses", "failback_after")
"""What the document says of a backend that may be in charge; of another it is null."""

Wall = Callable[[float], float]
"""Turns a monotonic time into seconds since the epoch."""


def document(
    watch: Watch,
    rules: Rules,
    source: str,
    warnings: tuple[str, ...],
    stale: Mapping[str, float],
    wall: Wall,
    certificates: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What the daemon knows, as JSON has it. `certificates` are as `tls.certificates` has them.

    It has all backends of the rules, preferred first, those included that may not stand in; `stale` are the names that
    do not resolve, and since when their last addresses are used. All times in the document are seconds since the
    epoch, all durations seconds.
    """
    now = watch.snapshot()
    charge, overrides, until = now.charge, now.standing.overrides, now.handover_until
    return {
        "version": __version__,
        "settings": source,
        "warnings": list(warnings),
        "in_charge": charge.backend,
        "in_charge_since": wall(charge.since),
        "why": now.explain(),
        "pins": {name: _override(each, wall) for name, each in overrides.pins.items()},
        "handover_until": None if until is None else wall(until),
        "stale_names": {name: wall(since) for name, since in stale.items()},
        "charges": list(_charges(now, rules, wall)),
        "backends": [
            {"name": name, "url": backend.url, **_backend(now, watch.quotas, name, wall)}
            for name, backend in rules.backends.items()
        ],
        "certificates": list(certificates),
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
    return "\n".join([*lines, "", *_sentences(status), *(f"warning: {warning}" for warning in status["warnings"])])


def is_bad_news(status: Mapping[str, Any]) -> bool:
    """Whether a backend that may be in charge is down, or a certificate is missing or has expired."""
    down = any(backend["state"] == State.DOWN.value for backend in status["backends"])
    return down or any(each["expired"] or each["until"] is None for each in status["certificates"])


def _charges(now: Snapshot, rules: Rules, wall: Wall) -> Iterator[dict[str, Any]]:
    """Who is in charge of each route, for redirects and for serving."""
    for route in rules.routes:
        for purpose in Purpose:
            charge = now.standing.charges[route.backends, purpose]
            yield {
                "repositories": [pattern.text for pattern in route.repositories],
                "for": purpose.value,
                "backend": charge.backend,
                "since": wall(charge.since),
                "why": now.explain((route.backends, purpose)),
            }


def _backend(now: Snapshot, quotas: Quotas, name: str, wall: Wall) -> dict[str, Any]:
    health = now.standing.healths.get(name)
    if health is None:
        return {**dict.fromkeys(_OF_BACKEND), "pulls_left": {}}
    failed_at = None if health.failed_at is None else wall(health.failed_at)
    return {
        "state": health.state.value,
        "since": wall(health.since),
        "last": result(health.last),
        "failed": {**result(health.failed), "at": failed_at} if health.failed else None,
        "drift": now.drifts.get(name),
        "drained": _override(now.standing.overrides.drains.get(name), wall),
        "pulls_left": {asker: _quota(*seen, wall) for asker, seen in quotas.of(name).items()},
        "limited_until": _limited_until(health, wall),
        "relapses": health.relapses,
        "failback_after": health.failback_after(now.plan.settings.failback_after),
    }


def _limited_until(health: Health, wall: Wall) -> float | None:
    """When pulls are granted again at the latest, by what the backend has said."""
    if health.state is not State.LIMITED or health.failed is None or health.failed_at is None:
        return None
    window = health.failed.quota.window if health.failed.quota else 0.0
    seconds = health.failed.retry_after or window
    return wall(health.failed_at + seconds) if seconds else None


def _override(override: Override | None, wall: Wall) -> dict[str, Any] | None:
    if override is None:
        return None
    return {"since": wall(override.since), "until": None if override.until is None else wall(override.until)}


def _quota(quota: Quota, at: float, wall: Wall) -> dict[str, Any]:
    return {"remaining": quota.remaining, "limit": quota.limit, "window": quota.window, "at": wall(at)}


def result(found: Result | None) -> dict[str, Any]:
    """A probe's result as JSON has it; empty if there is none."""
    if found is None:
        return {}
    return {
        "verdict": found.verdict.value,
        "step": found.step.value,
        "words": found.words,
        "latency": round(found.latency, 4),
        **({"drift": found.canary.drift} if found.canary and found.canary.drift else {}),
    }


def _row(backend: Mapping[str, Any]) -> tuple[str, ...]:
    if backend["state"] is None:
        return backend["name"], "not used", "-", "-", backend["url"]
    failed = backend["failed"]
    said = f"{failed['step']}: {failed['words']} ({_written(failed['at'])})" if failed else "-"
    marks = [mark for mark in ("drained", "drift") if backend[mark]]
    return backend["name"], ", ".join([backend["state"], *marks]), _written(backend["since"]), said, backend["url"]


def _sentences(status: Mapping[str, Any]) -> Iterator[str]:
    """What there is to know besides the table, a line each."""
    yield status["why"]
    for charge in status["charges"]:
        what = f"for {', '.join(charge['repositories'])}: " if charge["repositories"] else ""
        if charge["for"] == Purpose.SERVE.value and charge["backend"] != _redirecting(status, charge):
            yield f"{what}for serving, {charge['why']}"
        elif charge["for"] == Purpose.REDIRECT.value and what:
            yield f"{what}{charge['why']}"
    if status["handover_until"] is not None:
        yield f"handover until {_written(status['handover_until'])}: Docker's manifests and blobs are served"
    for backend in status["backends"]:
        yield from _particulars(backend)
    for name, since in status["stale_names"].items():
        yield f"{name} does not resolve since {_written(since)}: its last addresses are used"
    for certificate in status["certificates"]:
        yield from _certificate(certificate)


def _particulars(backend: Mapping[str, Any]) -> Iterator[str]:
    if backend["state"] is None:
        return
    name = backend["name"]
    if backend["drift"]:
        yield f"{name} drifts: {backend['drift']}"
    if backend["drained"] and backend["drained"]["until"] is not None:
        yield f"{name} is drained until {_written(backend['drained']['until'])}"
    if backend["limited_until"] is not None:
        yield f"{name} is limited until {_written(backend['limited_until'])} at the latest"
    if backend["relapses"]:
        after = spell(backend["failback_after"])
        yield f"{name} has relapsed {backend['relapses']} times: it takes over again after it has been up for {after}"
    for asker, left in backend["pulls_left"].items():
        of = f" of {left['limit']} in {spell(left['window'])}" if left["limit"] is not None else ""
        yield f"{name} grants this machine's {asker} {left['remaining']} more pulls{of}"


def _certificate(certificate: Mapping[str, Any]) -> Iterator[str]:
    named = ", ".join(certificate["names"])
    if certificate["until"] is None:
        yield f"no certificate{f' for {named}' if named else ''} from {certificate['from']}: {certificate['error']}"
        return
    what, until = f"certificate for {named or 'no name'}", _written(certificate["until"])
    renewal = f", renewed on {_written(certificate['next_renewal'])}" if certificate["next_renewal"] else ""
    yield f"{what}: by {certificate['issuer']}, until {until}{renewal}, from {certificate['from']}"
    if certificate["expired"]:
        yield f"the {what} HAS EXPIRED: renew it"
    elif certificate["expires_soon"]:
        yield f"the {what} expires soon, on {until}: it should have been renewed by now"
    if certificate["error"]:
        yield f"the {what} is not replaced: {certificate['error']}"


def _redirecting(status: Mapping[str, Any], serving: Mapping[str, Any]) -> str:
    """Who is in charge of redirects where `serving` is for serving."""
    return next(
        str(each["backend"])
        for each in status["charges"]
        if each["for"] == Purpose.REDIRECT.value and each["repositories"] == serving["repositories"]
    )


def _written(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S")
