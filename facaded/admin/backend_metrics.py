"""Metrics of the backends: their states, which are active, and what was measured of them."""

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from facaded.admin.metric_families import (
    CounterFamily,
    GaugeFamily,
    HistogramFamily,
    LabelValues,
    MetricFamily,
    label_of,
    single,
)
from facaded.admin.processes import Processes
from facaded.backends.measurements import TokenResult
from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.decision import Route, Rules
from facaded.policy.health import Purpose, State, Step
from facaded.policy.outages import find_outages
from facaded.policy.quota_reserve import window
from facaded.policy.reasons import DEGRADED, condition
from facaded.policy.snapshot import Snapshot

STATES = (*(state.value for state in State), DEGRADED)

EVERY_REPOSITORY = "**"
"""The route label of the last route, which has no patterns."""

Failover: TypeAlias = tuple[str, str, str]
"""The active backend before and after, and the reason."""


class BackendMetrics:
    """The metrics of the backends that `rules` name, from what `watch` knows, and of the caches of `processes`."""

    def __init__(self, watch: Watch, rules: Rules, processes: Processes) -> None:
        self._watch = watch
        self._rules = rules
        self._processes = processes
        self._failovers: Counter[Failover] = Counter()
        watch.subscribe(self._count_failovers)

    def reconfigure(self, rules: Rules) -> None:
        """Use these settings from now on, and forget backends that they do not have."""
        self._rules = rules
        for failover in [failover for failover in self._failovers if not {*failover[:2]} <= rules.backends.keys()]:
            del self._failovers[failover]

    def families(self, wall_offset: float) -> Iterator[MetricFamily]:
        """Return the metrics. `wall_offset` is what wall time is ahead of monotonic time, in seconds."""
        snapshot = self._watch.snapshot()
        yield from self._states(snapshot)
        yield from self._probes(snapshot, wall_offset)
        yield from self._requests(snapshot)

    def _count_failovers(self, change: Change) -> None:
        """Count each failover once, although it changes the active backend of several routes and purposes."""
        self._failovers.update(
            {(takeover.before, takeover.after, takeover.reason.value) for takeover in change.takeovers}
        )

    def _states(self, snapshot: Snapshot) -> Iterator[MetricFamily]:
        healths, overrides = snapshot.watch_state.healths, snapshot.watch_state.overrides
        yield GaugeFamily(
            "facaded_backend_state",
            "Whether a backend is in a state, 1 or 0. It is in exactly one.",
            ("backend", "state"),
            {(name, state): float(condition(health) == state) for name, health in healths.items() for state in STATES},
        )
        yield GaugeFamily(
            "facaded_backend_active",
            "Whether a backend is the active one of a route, 1 or 0, for redirects and for serving.",
            ("route", "purpose", "backend"),
            self._active_rows(snapshot),
        )
        yield GaugeFamily(
            "facaded_all_backends_down",
            "Whether a route has no backend that can answer clients, 1 or 0: /statusz is 503 then.",
            rows=single(float(bool(find_outages(snapshot)))),
        )
        yield CounterFamily(
            "facaded_failovers_total",
            "Changes of the active backend of any route, back to an earlier one included.",
            ("from", "to", "reason"),
            {failover: float(count) for failover, count in self._failovers.items()},
        )
        yield GaugeFamily(
            "facaded_backend_pinned",
            "Whether a backend is pinned, 1 or 0.",
            ("backend",),
            {(name,): float(name == overrides.pinned) for name in healths},
        )
        yield GaugeFamily(
            "facaded_backend_drained",
            "Whether a backend is drained, 1 or 0.",
            ("backend",),
            {(name,): float(name in overrides.drains) for name in healths},
        )

    def _active_rows(self, snapshot: Snapshot) -> dict[LabelValues, float]:
        rows: dict[LabelValues, float] = {}  # of two routes with the same patterns, the first one has the requests
        for route in self._rules.routes:
            for purpose in Purpose:
                active = snapshot.watch_state.active[route.backends, purpose]
                for name in route.backends:
                    rows.setdefault((_route_label(route), purpose.value, name), float(name == active.backend))
        return rows

    def _probes(self, snapshot: Snapshot, wall_offset: float) -> Iterator[MetricFamily]:
        probes, backends = self._watch.measurements.probes, snapshot.plan.backends
        yield HistogramFamily(
            "facaded_probe_duration_seconds",
            "Time that the requests of a step of a probe or a check took.",
            ("backend", "step"),
            {(name, label_of(step)): histogram for (name, step), histogram in probes.items() if name in backends},
        )
        passes = {(name, step): watched.proofs.passed_at(step) for name, watched in backends.items() for step in Step}
        yield GaugeFamily(
            "facaded_probe_last_success_timestamp_seconds",
            "When a step of a probe or a check last passed, or another one that stands for it.",
            ("backend", "step"),
            {(name, label_of(step)): at + wall_offset for (name, step), at in passes.items() if at is not None},
        )
        yield GaugeFamily(
            "facaded_backend_pulls_remaining",
            "Pulls that a backend still allows this machine's address, or facaded's account there, as it last said.",
            ("backend", "account"),
            self._pull_rows(snapshot),
        )

    def _pull_rows(self, snapshot: Snapshot) -> dict[LabelValues, float]:
        return {
            (name, owner): float(quota.remaining)
            for name in snapshot.plan.backends
            for owner, (quota, at) in self._watch.quotas.of(name).items()
            if snapshot.at < at + window(quota)
        }

    def _requests(self, snapshot: Snapshot) -> Iterator[MetricFamily]:
        measured, backends = self._watch.measurements, snapshot.plan.backends
        durations, tokens = measured.requests, measured.tokens
        yield HistogramFamily(
            "facaded_backend_request_duration_seconds",
            "Time that a request to a backend on behalf of clients took, with that for a new token if it needed one.",
            ("backend", "step"),
            {(name, label_of(step)): histogram for (name, step), histogram in durations.items() if name in backends},
        )
        yield CounterFamily(
            "facaded_token_requests_total",
            "Requests for tokens on behalf of clients: granted, refused (401 or 403), or failed.",
            ("backend", "result"),
            {(name, label_of(result)): tokens[name, result] for name in backends for result in TokenResult},
        )
        uses = measured.cache_uses
        yield CounterFamily(
            "facaded_cache_requests_total",
            "Served requests for manifests: from the cache (hit), from it after a backend had confirmed what the tag "
            "means (confirmed), or from a backend (miss).",
            ("result",),
            {("hit",): uses.hits, ("confirmed",): uses.confirmed, ("miss",): uses.misses},
        )
        yield GaugeFamily(
            "facaded_cache_bytes",
            "Memory of the cached manifests and lists of referrers.",
            rows=single(self._processes.cache_bytes + (0 if measured.cache is None else measured.cache.used)),
        )


def _route_label(route: Route) -> str:
    return ", ".join(pattern.text for pattern in route.repositories) or EVERY_REPOSITORY
