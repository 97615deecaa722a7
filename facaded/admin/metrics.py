"""The metrics of the daemon, for Prometheus.

Nothing is counted twice: most metrics are read from the parts of the daemon when they are scraped.
"""

from collections.abc import Callable, Iterator, Mapping

from facaded.admin.backend_metrics import BackendMetrics
from facaded.admin.daemon_metrics import DaemonMetrics, ReloadOutcome
from facaded.admin.metric_families import MetricFamily
from facaded.admin.request_metrics import RequestCounts
from facaded.backends.watch import Watch
from facaded.policy.decision import Rules
from facaded.tls.termination import Termination
from facaded.web.accesslog import AccessOutput
from facaded.web.server import BoundedSite


class Metrics:
    """All metrics, of the backends and routes that `rules` name.

    `reloads` knows whether the last reload succeeded, `tls` is None without TLS, and `wall` returns seconds since the
    epoch. `requests` counts answered requests.
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
        self._watch = watch
        self._wall = wall
        self._backends = BackendMetrics(watch, rules)
        self._daemon = DaemonMetrics(watch.reached_limits, reloads, tls, wall())

    def follow(self, sites: Mapping[str, BoundedSite], output: AccessOutput) -> None:
        """Count the connections of these sites, which are by their keys of [listen], and the lines that are lost."""
        self._daemon.follow(sites, output)

    def reconfigure(self, rules: Rules) -> None:
        """Use new settings, which are in force from now on."""
        self._daemon.loaded_at = self._wall()
        self._backends.reconfigure(rules)
        self.requests.reconfigure(rules.backends)

    def families(self) -> Iterator[MetricFamily]:
        """Return all metrics as they are now."""
        yield from self._daemon.families()
        yield from self._backends.families(self._wall() - self._watch.snapshot().at)
        yield from self.requests.families()
