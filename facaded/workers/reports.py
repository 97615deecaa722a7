"""The reports of the workers, which the first process adds to what it has counted itself."""

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from facaded.admin.metrics import Metrics
from facaded.admin.processes import Figures
from facaded.backends.seen_hosts import SeenHosts
from facaded.backends.watch import Watch
from facaded.net.json_documents import InvalidDocumentError, from_object
from facaded.oci.clients import Client
from facaded.oci.requests import is_digest, is_name, is_tag
from facaded.policy.asked_again import AskedAgain
from facaded.policy.decision import Rules
from facaded.policy.network_hosts import HostPort
from facaded.policy.pull_kinds import PullKey
from facaded.policy.pull_traces import Return
from facaded.web.pulls import Pulls
from facaded.workers.work_report import FiguresRow, WorkReport


class WorkerReports:
    """Adds the reports of workers to the metrics, the status and the log of the first process.

    They are for the backends of `rules`: what a report says of another one, which a reload has removed, does not count.
    """

    _log = Logger()

    def __init__(
        self,
        metrics: Metrics,
        watch: Watch,
        pulls: Pulls,
        seen_hosts: SeenHosts,
        asked_again: AskedAgain,
        rules: Rules,
    ) -> None:
        self._metrics = metrics
        self._watch = watch
        self._pulls = pulls
        self._seen_hosts = seen_hosts
        self._asked_again = asked_again
        self._rules = rules
        self._numbers: dict[int, int] = {}
        self._misunderstood: set[int] = set()

    def reconfigure(self, rules: Rules) -> None:
        """Count for the backends of these rules from now on."""
        self._rules = rules

    def add(self, worker: int, body: Mapping[str, Any]) -> None:
        """Add a report of a worker, by its number.

        One that was added before is ignored, and so is one that is not valid, which the log says once for each worker.
        """
        try:
            report = from_object(dict(body), WorkReport)
        except InvalidDocumentError as error:
            self._note_misunderstood(worker, str(error))
            return
        if report.number <= self._numbers.get(worker, 0):
            return
        self._numbers[worker] = report.number
        self._add_requests(report)
        self._add_backend_requests(report)
        self._add_notes(report)
        self._add_pulls(report)
        processes = self._metrics.processes
        processes.lost_lines += report.lost_lines
        processes.relayed_bytes += report.relayed_bytes
        if report.figures is not None:
            processes.put(worker, _figures(report.figures))

    def forget(self, worker: int) -> None:
        """Forget what a worker that has ended was like. What it counted stays: counters never go back."""
        self._numbers.pop(worker, None)
        self._misunderstood.discard(worker)
        self._metrics.processes.forget(worker)

    def _note_misunderstood(self, worker: int, reason: str) -> None:
        if worker not in self._misunderstood:
            self._misunderstood.add(worker)
            self._log.warn(
                "worker {worker}: its reports are not valid ({reason}), so metrics and status lack what it counts: "
                "restart facaded if it was updated",
                worker=worker,
                reason=reason,
            )

    def _add_requests(self, report: WorkReport) -> None:
        for row in report.requests:
            key = row.kind, row.answer, row.status, row.family, row.backend
            self._metrics.requests.add(key, row.durations.histogram)

    def _add_backend_requests(self, report: WorkReport) -> None:
        measurements, backends = self._watch.measurements, self._rules.backends
        for row in report.backend_requests:
            if row.backend in backends:
                measurements.add_requests(row.backend, row.step, row.durations.histogram)
        for tokens in report.tokens:
            if tokens.backend in backends:
                measurements.tokens[tokens.backend, tokens.result] += tokens.count
        uses = measurements.cache_uses
        uses.hits += report.cache.hits
        uses.confirmed += report.cache.confirmed
        uses.misses += report.cache.misses

    def _add_notes(self, report: WorkReport) -> None:
        """Add what is logged too: limits, new hosts, and accounts."""
        for limit in report.limits:
            self._watch.reached_limits.add(limit.limit, limit.count, limit.subject)
        urls = {backend.url for backend in self._rules.backends.values()}
        for host in report.hosts:
            if host.backend_url in urls:
                self._seen_hosts.add(host.backend_url, HostPort(host.purpose, host.host, host.port))
        for account in report.accounts:
            if account.backend in self._rules.backends:
                self._watch.refused_accounts.note(account.backend, account.repository, account.problem)

    def _add_pulls(self, report: WorkReport) -> None:
        returns = (
            Return(row.source, Client(row.family), row.subject, row.since, row.until, row.times, row.repository)
            for row in report.returns
        )
        self._asked_again.add(report.asked_again, returns)
        for image in report.pulls:
            if is_name(image.repository) and is_tag(image.tag):
                self._pulls.recent.add(image.repository, image.tag)
        if not self._pulls.is_counting:
            return
        for row in report.counts:
            if _is_countable(row.repository, row.reference):
                key = PullKey(row.repository, row.reference, row.family, row.kind, row.is_proven)
                self._pulls.counts.add(key, row.count)


def _figures(row: FiguresRow) -> Figures:
    return Figures(row.connections, row.cache_bytes, row.requests)


def _is_countable(repository: str, reference: str) -> bool:
    """Return whether pulls are counted by these names; both or the second may be empty."""
    if not repository:
        return not reference
    return is_name(repository) and (not reference or is_tag(reference) or is_digest(reference))
