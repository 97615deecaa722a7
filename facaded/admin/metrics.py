"""The metrics of the daemon, for Prometheus.

Nothing is counted twice: most metrics are read from the parts of the daemon when they are scraped.
"""

from collections.abc import Callable, Iterator, Mapping

from facaded.admin.backend_metrics import BackendMetrics
from facaded.admin.daemon_metrics import DaemonMetrics, ReloadOutcome
from facaded.admin.metric_families import MetricFamily
from facaded.admin.processes import Processes
from facaded.admin.request_metrics import RequestCounts
from facaded.admin.status import WorkerStatus
from facaded.backends.watch import Watch
from facaded.policy.decision import Rules
from facaded.tls.termination import Termination
from facaded.web.accesslog import AccessOutput
from facaded.web.server import BoundedSite


class Metrics:
    """All metrics, of the backends and routes that `rules` name.

    `reloads` knows whether the last reload succeeded, `tls` is None without TLS, and `wall` returns seconds since the
    epoch. `requests` counts answered requests, and `processes` has what workers add.
    """

    def __init__(
        self,
        watch: Watch,
        rules: Rules,
        reloads: ReloadOutcome,
        tls: Termination | None,
        wall: Callable[[], float],
    ) -> None:
        self.requests = RequestCounts(rules.backends)
        self.processes = Processes()
        self._flush: Callable[[], None] = lambda: None
        self._watch = watch
        self._wall = wall
        self._backends = BackendMetrics(watch, rules, self.processes)
        self._daemon = DaemonMetrics(watch.reached_limits, reloads, tls, wall(), self.processes)

    def follow(self, sites: Mapping[str, BoundedSite], output: AccessOutput, flush: Callable[[], None]) -> None:
        """Count the connections of these sites, which are by their keys of [listen], and the lines that are lost.

        `flush` passes the answered requests on that wait to be counted.
        """
        self._daemon.follow(sites, output)
        self._flush = flush

    def reconfigure(self, rules: Rules) -> None:
        """Use new settings, which are in force from now on."""
        self._daemon.loaded_at = self._wall()
        self._backends.reconfigure(rules)
        self.requests.reconfigure(rules.backends)

    def worker_statuses(self) -> tuple[WorkerStatus, ...]:
        """Return the status of each process that answers clients."""
        self._flush()
        return self.processes.statuses(self._daemon.client_connections, self.requests.noted)

    def families(self) -> Iterator[MetricFamily]:
        """Return all metrics as they are now."""
        self._flush()
        yield from self._daemon.families()
        yield from self._backends.families(self._wall() - self._watch.snapshot().at)
        yield from self.requests.families()
