"""Metrics of the daemon itself: its settings, connections, limits, certificates and versions."""

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import twisted
from attrs import evolve
from OpenSSL import SSL

from facaded import __version__
from facaded.admin.metric_families import CounterFamily, GaugeFamily, LabelValues, MetricFamily, label_of, single
from facaded.admin.processes import Processes
from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limit
from facaded.tls.certificate_status import CertificateReport
from facaded.tls.certificates import SELF_SIGNED
from facaded.tls.termination import Termination
from facaded.web.accesslog import TWISTED, AccessOutput
from facaded.web.server import BoundedSite

NO_CERTIFICATE = 0.0
"""The expiry of a certificate that is missing: long ago, so that an alert on the expiry is raised for it too."""

CLIENT_LISTENERS = ("listen.http", "listen.https")
"""The keys of the listeners that clients connect to."""

VERSIONS: LabelValues = (
    __version__,
    ".".join(map(str, sys.version_info[:3])),
    twisted.__version__,
    SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace").split()[1],
)
"""The versions of facaded, Python, Twisted and OpenSSL."""


class ReloadOutcome(Protocol):
    """Knows whether the last reload applied its settings."""

    @property
    def succeeded(self) -> bool:
        """Whether the last reload succeeded; true before the first one."""


class DaemonMetrics:
    """The metrics of the daemon. `tls` is None without TLS; `loaded_at` is when its settings were read (wall time).

    `processes` has what workers add.
    """

    _sites: Mapping[str, BoundedSite] = MappingProxyType({})
    _output: AccessOutput = TWISTED

    def __init__(
        self,
        reached_limits: ReachedLimits,
        reloads: ReloadOutcome,
        tls: Termination | None,
        loaded_at: float,
        processes: Processes,
    ) -> None:
        self.loaded_at = loaded_at
        self._reached_limits = reached_limits
        self._reloads = reloads
        self._tls = tls
        self._processes = processes

    def follow(self, sites: Mapping[str, BoundedSite], output: AccessOutput) -> None:
        """Count the connections of these sites, which are by their keys of [listen], and the lines that are lost."""
        self._sites, self._output = sites, output

    def families(self) -> Iterator[MetricFamily]:
        """Return the metrics."""
        yield from self._settings()
        yield from self._running()
        yield from self._traffic()
        yield from self._certificates()

    def _settings(self) -> Iterator[MetricFamily]:
        yield GaugeFamily(
            "facaded_build_info",
            "The versions that run; always 1.",
            ("version", "python", "twisted", "openssl"),
            {VERSIONS: 1.0},
        )
        yield GaugeFamily(
            "facaded_config_last_reload_successful",
            "Whether the last reload applied its settings, 1 or 0; 1 before the first reload.",
            rows=single(float(self._reloads.succeeded)),
        )
        yield GaugeFamily(
            "facaded_config_last_reload_timestamp_seconds",
            "When the settings in force were read: at the start, or by the last successful reload.",
            rows=single(self.loaded_at),
        )

    @property
    def client_connections(self) -> int:
        """The open connections of clients to this process."""
        return sum(len(site.channels) for key, site in self._sites.items() if key in CLIENT_LISTENERS)

    def _running(self) -> Iterator[MetricFamily]:
        yield GaugeFamily(
            "facaded_workers",
            "Processes that answer clients.",
            rows=single(self._processes.up),
        )
        yield GaugeFamily(
            "facaded_workers_configured",
            "Processes that answer clients if none is missing: the setting workers.",
            rows=single(self._processes.count),
        )
        yield CounterFamily(
            "facaded_worker_restarts_total",
            "Workers that had ended and were replaced.",
            rows=single(self._processes.restarts),
        )

    def _traffic(self) -> Iterator[MetricFamily]:
        yield GaugeFamily(
            "facaded_connections",
            "Open connections.",
            ("listener",),
            self._connection_rows(),
        )
        reached = self._reached_limits.all()
        yield CounterFamily(
            "facaded_limit_reached_total",
            "How often a limit was reached: a key of [limits], or a limit of this machine.",
            ("limit",),
            {(label_of(limit),): float(reached[limit].count if limit in reached else 0) for limit in Limit},
        )
        yield CounterFamily(
            "facaded_log_lines_lost_total",
            "Lines of the log that could not be written.",
            rows=single(float(self._output.lost_lines + self._processes.lost_lines)),
        )
        yield CounterFamily(
            "facaded_relayed_bytes_total",
            "Bytes of blobs that passed through, because their backend has relay_blobs = true.",
            rows=single(self._processes.relayed_bytes + sum(site.relayed_bytes for site in self._sites.values())),
        )

    def _connection_rows(self) -> dict[LabelValues, float]:
        elsewhere = self._processes.connections
        own = {key.removeprefix("listen."): len(site.channels) for key, site in self._sites.items()}
        return {(listener,): float(number + elsewhere[listener]) for listener, number in own.items()}

    def _certificates(self) -> Iterator[MetricFamily]:
        if self._tls is None:
            return
        reports = list(self._tls.certificates.status(self._tls.acme.status()))
        yield GaugeFamily(
            "facaded_certificate_expiry_timestamp_seconds",
            "When the certificate that is served for a name expires; 0 if there is only a temporary self-signed one.",
            ("name",),
            expiry_rows(reports),
        )
        yield GaugeFamily(
            "facaded_certificate_trouble",
            "Whether the renewal of the certificate that is served for a name is overdue: 0 no, 1 yes, 2 if it also "
            "expires within two days or a quarter of its life, or is missing.",
            ("name",),
            trouble_rows(reports),
        )
        yield CounterFamily(
            "facaded_certificate_renewal_failures_total",
            "Attempts to renew a certificate that failed: orders by ACME, and changed files that cannot be used.",
            rows=single(self._tls.renewal_failures),
        )


def expiry_rows(reports: list[CertificateReport]) -> dict[LabelValues, float]:
    """Return when the certificate for each name expires, in seconds since the epoch."""
    return {name: report.until or NO_CERTIFICATE for name, report in _by_name(reports).items()}


def trouble_rows(reports: list[CertificateReport]) -> dict[LabelValues, float]:
    """Return how bad the state of the certificate for each name is: 0, 1 or 2."""
    return {name: _trouble(report) for name, report in _by_name(reports).items()}


def _trouble(report: CertificateReport) -> float:
    if report.expired or report.until is None or report.is_urgent:
        return 2.0
    return 1.0 if report.expires_soon else 0.0


def _by_name(reports: list[CertificateReport]) -> dict[LabelValues, CertificateReport]:
    """Return the certificate for each name.

    If several have a name, it is the one that is served: a valid one, the first in the settings, or else an expired
    one, unless a wildcard has the name. A self-signed one that stands in for a missing one is none.
    """
    managed = [report for report in reports if report.source != SELF_SIGNED]
    missing = [report for report in reports if report.source == SELF_SIGNED]
    rows: dict[LabelValues, CertificateReport] = {}
    for report in managed:
        if not report.expired and report.until is not None:
            for name in report.names:
                rows.setdefault((name,), report)
    substitutes = [report for report in managed if report.expired or report.until is None]
    for report in [*substitutes, *(evolve(report, until=None) for report in missing)]:
        for name in report.names:
            if (f"*.{name.partition('.')[2]}",) not in rows:
                rows.setdefault((name,), report)
    return rows
