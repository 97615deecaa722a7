"""The status document, which the control socket and `facaded status --json` return.

Its times are seconds since the epoch, its durations seconds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import field, frozen

from facaded import __version__
from facaded.backends.refused_accounts import AccountRefusal
from facaded.net.json_documents import LEFT_OUT, Document, key
from facaded.policy.decision import Rules
from facaded.policy.health import Health, Purpose, Quota, Result, State
from facaded.policy.network_hosts import NetworkHost
from facaded.policy.overrides import Override
from facaded.policy.reasons import explain_health
from facaded.policy.samples import LONG_WINDOW
from facaded.policy.snapshot import Snapshot

Wall = Callable[[float], float]
"""Converts a monotonic time to seconds since the epoch."""

PullsLeft = Mapping[str, Mapping[str, tuple[Quota, float]]]
"""The pulls left, by backend and by what the backend counts (address or account), and when it said so (monotonic)."""


Refusals = Mapping[str, AccountRefusal | None]
"""The refusals of facaded's own accounts, by backend."""


@frozen
class OverrideStatus:
    """A pin or a drain. `until` is null if it does not end by itself; `reason` is the operator's, or empty."""

    since: float
    until: float | None
    reason: str = field(default="", metadata=LEFT_OUT)


@frozen
class RouteStatus:
    """The active backend of a route, for redirects or for serving. `repositories` is empty for the default route."""

    repositories: tuple[str, ...]
    purpose: str = field(metadata=key("for"))
    backend: str
    since: float
    why: str


@frozen
class ProbeStatus:
    """The result of the latest probe; an empty object before the first one."""

    verdict: str | None = field(default=None, metadata=LEFT_OUT)
    step: str | None = field(default=None, metadata=LEFT_OUT)
    reason: str | None = field(default=None, metadata=LEFT_OUT)
    latency: float | None = field(default=None, metadata=LEFT_OUT)
    drift: str | None = field(default=None, metadata=LEFT_OUT)


@frozen
class FailureStatus:
    """The latest probe result that was not good."""

    verdict: str
    step: str
    reason: str
    latency: float
    at: float | None
    drift: str | None = field(default=None, metadata=LEFT_OUT)


@frozen
class QuotaStatus:
    """The pulls left: `remaining` of `limit` in `window` seconds, as the backend said at the time `at`."""

    remaining: int
    limit: int | None
    window: float
    at: float


@frozen
class AccountStatus:
    """What is wrong with facaded's own account at a backend, as a sentence, and since when."""

    problem: str
    since: float


@frozen
class SampleStatus:
    """How many requests of one step of a pull were `sent` within `window` seconds, and how many of them `failed`."""

    sent: int
    failed: int
    window: float


@frozen
class BackendStatus:
    """The status of a backend. If no route uses it, it has only `name` and `url`."""

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
    why: str | None = None
    degraded_since: float | None = None
    samples: Mapping[str, SampleStatus] = field(factory=dict)
    account: AccountStatus | None = None


@frozen
class CertificateStatus:
    """A certificate in service, or a missing one: then `until` is null.

    With `expires_soon`, it should have been renewed by now. The fields from `not_after` on describe its order: see
    `OrderStatus`.
    """

    names: tuple[str, ...]
    issuer: str | None
    until: float | None
    expired: bool
    expires_soon: bool
    source: str = field(metadata=key("from"))
    next_renewal: float | None = None
    error: str | None = None
    remaining: float | None = None
    not_after: float | None = None
    due: float | None = None
    overdue: bool = False
    suggested_from: float | None = None
    suggested_until: float | None = None
    suggested_because: str | None = None
    error_at: float | None = None
    attempts: int | None = None
    ca: str | None = None


@frozen
class LimitStatus:
    """A limit that was reached `count` times since the start, last at the time `last`, by `subject`."""

    name: str
    count: int
    last: float
    subject: str


@frozen
class ReturnStatus:
    """A client that was redirected and asked again: since when and until when it is served, and a sentence."""

    since: float
    until: float
    why: str


@frozen
class AskedAgainStatus:
    """How many clients asked again since the start, and the latest of them, the last one first."""

    count: int = 0
    latest: tuple[ReturnStatus, ...] = ()


@frozen
class WorkerStatus:
    """A process that answers clients; the number of the first one is 0. `state` is "up" while it does.

    `connections` are those of clients that are open now, `requests` those it answered since its start.
    """

    number: int
    pid: int
    since: float
    state: str
    connections: int
    requests: int


@frozen
class Headline:
    """What an operator must know first. `level` is "green", "amber" (something needs a look) or "red" (pulls fail).

    `text` is one line, `since` when it began, null if that is unknown, and `remarks` have a sentence for each thing
    that needs a look.
    """

    level: str
    text: str
    since: float | None = None
    remarks: tuple[str, ...] = ()


@frozen
class Status(Document):
    """The status document. `version` is facaded's, not the document's. `hosts` are the registry's names."""

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
    limits: tuple[LimitStatus, ...] = ()
    asked_again: AskedAgainStatus = AskedAgainStatus()
    workers: tuple[WorkerStatus, ...] = ()
    hosts: tuple[str, ...] = ()
    headline: Headline | None = field(default=None, metadata=LEFT_OUT)

    @property
    def is_bad_news(self) -> bool:
        """Whether a backend in use is down or degraded, all are drained, or a certificate is missing or overdue."""
        in_use = [backend for backend in self.backends if backend.state is not None]
        down = any(backend.state == State.DOWN.value or backend.degraded_since for backend in in_use)
        all_drained = bool(in_use) and all(backend.drained for backend in in_use)
        return (
            down
            or all_drained
            or any(
                certificate.expired or certificate.expires_soon or certificate.until is None
                for certificate in self.certificates
            )
        )


@frozen
class InForce:
    """The settings in force: their rules, where they were read from, their warnings, and the hosts they lead to."""

    rules: Rules
    source: str
    warnings: tuple[str, ...] = ()
    hosts: tuple[NetworkHost, ...] = ()


def document(
    in_force: InForce,
    snapshot: Snapshot,
    pulls_left: PullsLeft,
    refusals: Refusals,
    stale_names: Mapping[str, float],
    certificates: Sequence[CertificateStatus],
    wall: Wall,
) -> Status:
    """Return the status document.

    It lists all backends of the rules in order of preference, including those that no route uses. `stale_names` are the
    names that do not resolve, and since when their last known addresses are used; `wall` converts monotonic times.
    """
    overrides, until = snapshot.watch_state.overrides, snapshot.handover_until
    return Status(
        version=__version__,
        settings=in_force.source,
        warnings=in_force.warnings,
        active=snapshot.active.backend,
        active_since=wall(snapshot.active.since),
        why=snapshot.explain(),
        pins={name: _override(pin, wall) for name, pin in overrides.pins.items()},
        handover_until=None if until is None else wall(until),
        stale_names={name: wall(since) for name, since in stale_names.items()},
        routes=tuple(_routes(snapshot, in_force.rules, wall)),
        backends=tuple(
            _backend(name, backend.url, snapshot, pulls_left.get(name, {}), refusals.get(name), wall)
            for name, backend in in_force.rules.backends.items()
        ),
        certificates=tuple(certificates),
        hosts=in_force.rules.hosts,
    )


def probe_status(result: Result | None) -> ProbeStatus:
    """Return a probe's result as part of a document; `result` is None before the first probe."""
    if result is None:
        return ProbeStatus()
    return ProbeStatus(result.verdict.value, result.step.value, result.reason, round(result.latency, 4), _drift(result))


def _routes(snapshot: Snapshot, rules: Rules, wall: Wall) -> Iterator[RouteStatus]:
    """Return the active backend of each route, for redirects and for serving."""
    for route in rules.routes:
        for purpose in Purpose:
            active = snapshot.watch_state.active[route.backends, purpose]
            repositories = tuple(pattern.text for pattern in route.repositories)
            why = snapshot.explain((route.backends, purpose))
            yield RouteStatus(repositories, purpose.value, active.backend, wall(active.since), why)


def _backend(
    name: str,
    url: str,
    snapshot: Snapshot,
    pulls_left: Mapping[str, tuple[Quota, float]],
    refusal: AccountRefusal | None,
    wall: Wall,
) -> BackendStatus:
    health = snapshot.watch_state.healths.get(name)
    if health is None:
        return BackendStatus(name, url)
    drain = snapshot.watch_state.overrides.drains.get(name)
    return BackendStatus(
        name=name,
        url=url,
        pulls_left={asker: _quota(quota, at, wall) for asker, (quota, at) in pulls_left.items()},
        state=health.state.value,
        since=wall(health.since),
        last=probe_status(health.last),
        failed=_failure(health, wall),
        drift=snapshot.drifts.get(name),
        drained=None if drain is None else _override(drain, wall),
        limited_until=_limited_until(health, snapshot.at, wall),
        relapses=health.damping.relapses,
        failback_after=health.failback_after(snapshot.plan.settings.failback_after),
        why=explain_health(name, health, snapshot.at),
        degraded_since=None if health.degraded is None else wall(health.degraded.since),
        samples={
            step.value: SampleStatus(count.sent, count.failed, count.window)
            for step, count in health.samples.counts(snapshot.at, LONG_WINDOW).items()
        },
        account=None if refusal is None else AccountStatus(refusal.problem, wall(refusal.since)),
    )


def _failure(health: Health, wall: Wall) -> FailureStatus | None:
    result = health.failed
    if result is None:
        return None
    return FailureStatus(
        verdict=result.verdict.value,
        step=result.step.value,
        reason=result.reason,
        latency=round(result.latency, 4),
        at=None if health.failed_at is None else wall(health.failed_at),
        drift=_drift(result),
    )


def _drift(result: Result) -> str | None:
    return (result.canary.drift or None) if result.canary else None


def _limited_until(health: Health, now: float, wall: Wall) -> float | None:
    """Return when the backend grants pulls again at the latest, by its Retry-After or its quota's window."""
    if health.is_resting(now) and health.retry_at is not None:
        return wall(health.retry_at)
    if health.state is not State.LIMITED or health.failed is None or health.failed_at is None:
        return None
    window = health.failed.quota.window if health.failed.quota else 0.0
    seconds = health.failed.retry_after or window
    return wall(health.failed_at + seconds) if seconds else None


def _override(override: Override, wall: Wall) -> OverrideStatus:
    until = None if override.until is None else wall(override.until)
    return OverrideStatus(wall(override.since), until, override.reason)


def _quota(quota: Quota, at: float, wall: Wall) -> QuotaStatus:
    return QuotaStatus(quota.remaining, quota.limit, quota.window, wall(at))
