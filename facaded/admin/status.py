"""The status document: what the daemon knows, as the control socket and `--json` have it.

All times in it are seconds since the epoch, all durations seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from facaded import __version__
from facaded.net.json_documents import LEFT_OUT, Document, key
from facaded.policy.decision import Rules
from facaded.policy.health import Health, Purpose, Quota, Result, State
from facaded.policy.overrides import Override
from facaded.policy.snapshot import Snapshot

Wall = Callable[[float], float]
"""Turns a monotonic time into seconds since the epoch."""

PullsLeft = Mapping[str, Mapping[str, tuple[Quota, float]]]
"""The pulls that each backend still grants, by asker, and when it said so in monotonic seconds."""


@frozen
class OverrideStatus:
    """A pin or a drain. `until` is null if it does not end by itself."""

    since: float
    until: float | None


@frozen
class RouteStatus:
    """The active backend of a route, for redirects or for serving. `repositories` are empty for the last route."""

    repositories: tuple[str, ...]
    purpose: str = field(metadata=key("for"))
    backend: str
    since: float
    why: str


@frozen
class ProbeStatus:
    """What a probe found; an empty object before the first one has."""

    verdict: str | None = field(default=None, metadata=LEFT_OUT)
    step: str | None = field(default=None, metadata=LEFT_OUT)
    reason: str | None = field(default=None, metadata=LEFT_OUT)
    latency: float | None = field(default=None, metadata=LEFT_OUT)
    drift: str | None = field(default=None, metadata=LEFT_OUT)


@frozen
class FailureStatus:
    """What the latest probe found that was not good."""

    verdict: str
    step: str
    reason: str
    latency: float
    at: float | None
    drift: str | None = field(default=None, metadata=LEFT_OUT)


@frozen
class QuotaStatus:
    """The pulls that a backend still grants: `remaining` of `limit` in `window` seconds, as it said at a time."""

    remaining: int
    limit: int | None
    window: float
    at: float


@frozen
class BackendStatus:
    """What is known of a backend. All but the first two are null for one that no route uses."""

    name: str
    url: str
    pulls_left: Mapping[str, QuotaStatus] = field(factory=dict)
    state: str | None = None
    since: float | None = None
    last: ProbeStatus | None = None
    failed: FailureStatus | None = None
    drift: str | None = None
    drained: OverrideStatus | None = None
    limited_until: float | None = None
    relapses: int | None = None
    failback_after: float | None = None


@frozen
class CertificateStatus:
    """A certificate in service, or one that should be: then `until` is null. The last five say more of an order."""

    names: tuple[str, ...]
    issuer: str | None
    until: float | None
    expired: bool
    expires_soon: bool
    source: str = field(metadata=key("from"))
    next_renewal: float | None = None
    error: str | None = None
    not_after: float | None = None
    suggested_because: str | None = None
    error_at: float | None = None
    attempts: int | None = None
    ca: str | None = None


@frozen
class Status(Document):
    """All of it. `version` is facaded's own, not that of the document."""

    version: str
    settings: str
    warnings: tuple[str, ...]
    active: str
    active_since: float
    why: str
    pins: Mapping[str, OverrideStatus]
    handover_until: float | None
    stale_names: Mapping[str, float]
    routes: tuple[RouteStatus, ...]
    backends: tuple[BackendStatus, ...]
    certificates: tuple[CertificateStatus, ...]

    @property
    def is_bad_news(self) -> bool:
        """Whether a backend in use is down, all of them are drained, or a certificate is missing or has expired."""
        in_use = [backend for backend in self.backends if backend.state is not None]
        down = any(backend.state == State.DOWN.value for backend in in_use)
        all_drained = bool(in_use) and all(backend.drained for backend in in_use)
        return down or all_drained or any(each.expired or each.until is None for each in self.certificates)


@frozen
class InForce:
    """What the settings in force say: the rules, where they were read, and what to warn of."""

    rules: Rules
    source: str
    warnings: tuple[str, ...] = ()


def document(
    in_force: InForce,
    now: Snapshot,
    pulls_left: PullsLeft,
    stale_names: Mapping[str, float],
    certificates: Sequence[CertificateStatus],
    wall: Wall,
) -> Status:
    """Put together what the daemon knows.

    It has all backends of the rules, preferred first, those included that no route uses. `stale_names` are the names
    that do not resolve, and since when their last addresses are used.
    """
    overrides, until = now.watch_state.overrides, now.handover_until
    return Status(
        version=__version__,
        settings=in_force.source,
        warnings=in_force.warnings,
        active=now.active.backend,
        active_since=wall(now.active.since),
        why=now.explain(),
        pins={name: _override(each, wall) for name, each in overrides.pins.items()},
        handover_until=None if until is None else wall(until),
        stale_names={name: wall(since) for name, since in stale_names.items()},
        routes=tuple(_routes(now, in_force.rules, wall)),
        backends=tuple(
            _backend(name, backend.url, now, pulls_left.get(name, {}), wall)
            for name, backend in in_force.rules.backends.items()
        ),
        certificates=tuple(certificates),
    )


def probe_status(found: Result | None) -> ProbeStatus:
    """Turn a probe's result into its part of a document."""
    if found is None:
        return ProbeStatus()
    return ProbeStatus(found.verdict.value, found.step.value, found.reason, round(found.latency, 4), _drift(found))


def _routes(now: Snapshot, rules: Rules, wall: Wall) -> Iterator[RouteStatus]:
    """The active backend of each route, for redirects and for serving."""
    for route in rules.routes:
        for purpose in Purpose:
            active = now.watch_state.active[route.backends, purpose]
            repositories = tuple(pattern.text for pattern in route.repositories)
            why = now.explain((route.backends, purpose))
            yield RouteStatus(repositories, purpose.value, active.backend, wall(active.since), why)


def _backend(
    name: str, url: str, now: Snapshot, pulls_left: Mapping[str, tuple[Quota, float]], wall: Wall
) -> BackendStatus:
    health = now.watch_state.healths.get(name)
    if health is None:
        return BackendStatus(name, url)
    drain = now.watch_state.overrides.drains.get(name)
    return BackendStatus(
        name=name,
        url=url,
        pulls_left={asker: _quota(quota, at, wall) for asker, (quota, at) in pulls_left.items()},
        state=health.state.value,
        since=wall(health.since),
        last=probe_status(health.last),
        failed=_failure(health, wall),
        drift=now.drifts.get(name),
        drained=None if drain is None else _override(drain, wall),
        limited_until=_limited_until(health, wall),
        relapses=health.relapses,
        failback_after=health.failback_after(now.plan.settings.failback_after),
    )


def _failure(health: Health, wall: Wall) -> FailureStatus | None:
    found, at = health.failed, health.failed_at
    if found is None:
        return None
    said = wall(at) if at is not None else None
    return FailureStatus(
        found.verdict.value, found.step.value, found.reason, round(found.latency, 4), said, _drift(found)
    )


def _drift(found: Result) -> str | None:
    return (found.canary.drift or None) if found.canary else None


def _limited_until(health: Health, wall: Wall) -> float | None:
    """When pulls are granted again at the latest, by what the backend has said."""
    if health.state is not State.LIMITED or health.failed is None or health.failed_at is None:
        return None
    window = health.failed.quota.window if health.failed.quota else 0.0
    seconds = health.failed.retry_after or window
    return wall(health.failed_at + seconds) if seconds else None


def _override(override: Override, wall: Wall) -> OverrideStatus:
    return OverrideStatus(wall(override.since), None if override.until is None else wall(override.until))


def _quota(quota: Quota, at: float, wall: Wall) -> QuotaStatus:
    return QuotaStatus(quota.remaining, quota.limit, quota.window, wall(at))
