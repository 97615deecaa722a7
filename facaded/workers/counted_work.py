"""What a worker has counted, for the first process, which adds it up."""

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.internet.interfaces import IReactorTime

from facaded.admin.request_metrics import RequestCounts
from facaded.backends.measurements import Measurements
from facaded.net.json_documents import to_json
from facaded.policy.asked_again import SHOWN, AskedAgain
from facaded.web.accesslog import TWISTED, AccessOutput
from facaded.web.pulls import Pulls
from facaded.web.server import BoundedSite
from facaded.workers.forwarded_notes import ForwardedAccounts, ForwardedHosts, ForwardedLimits, take_first
from facaded.workers.work_report import (
    MOST_ROWS,
    AccountRow,
    BackendRow,
    CacheRow,
    CountRow,
    Durations,
    FiguresRow,
    HostRow,
    LimitRow,
    PullRow,
    RequestRow,
    ReturnRow,
    TokenRow,
    WorkReport,
)


class CountedWork:
    """Counts what a worker does, and reports it.

    `requests.note`, `pulls.follow` and `pulls.count` are `BatchSubscriber`s for its answers; `measurements`, `limits`,
    `accounts` and `hosts` are for what it asks the backends. Each report empties them, so that nothing counts twice,
    and what they count between two first processes waits for the new one. `wall` returns seconds since the epoch.
    """

    _sites: Mapping[str, BoundedSite] = MappingProxyType({})
    _output: AccessOutput = TWISTED

    def __init__(self, clock: IReactorTime, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.requests = RequestCounts(())
        self.pulls = Pulls()
        self.measurements = Measurements(clock)
        self.limits = ForwardedLimits(clock)
        self.accounts = ForwardedAccounts(clock)
        self.hosts = ForwardedHosts()
        self._asked_again = AskedAgain()
        self._flush: Callable[[], None] = _flush_nothing
        self._number = self._returns = self._lost_lines = self._relayed_bytes = 0
        self._figures: FiguresRow | None = None

    def follow(
        self,
        sites: Mapping[str, BoundedSite],
        output: AccessOutput,
        asked_again: AskedAgain,
        flush: Callable[[], None],
    ) -> None:
        """Report the connections of these sites, which are by their keys of [listen], lost lines, and returns.

        `flush` passes the answered requests on that wait to be counted.
        """
        self._sites, self._output, self._asked_again, self._flush = sites, output, asked_again, flush

    def begin(self) -> None:
        """Begin to report to a new first process: it knows no hosts, refused accounts and figures of this worker."""
        self._figures = None
        self.hosts.repeat()
        self.accounts.repeat()

    def collect(self) -> dict[str, Any]:
        """Return the next report, to be sent at once; an empty dict if nothing has changed.

        A report has a bounded size, and what does not fit is in the next one: at the end, call this until it is empty.
        Do not call it while there is nobody to send to: what is not collected waits here. A report that is on its way
        to a first process that dies is lost like everything that this one had counted.
        """
        self._flush()
        number = self._number + 1
        report = self._make_report(number)
        if report == WorkReport(number):
            return {}
        self._number = number
        return to_json(report)

    def _make_report(self, number: int) -> WorkReport:
        lost_lines, relayed_bytes = self._output.lost_lines, sum(site.relayed_bytes for site in self._sites.values())
        asked_again, returns = self._take_returns()
        figures = self._count_figures()
        report = WorkReport(
            number,
            tuple(RequestRow(*key, Durations.of(durations)) for key, durations in self.requests.take(MOST_ROWS)),
            tuple(
                BackendRow(*key, Durations.of(durations))
                for key, durations in take_first(self.measurements.requests, MOST_ROWS)
            ),
            tuple(TokenRow(*key, count) for key, count in take_first(self.measurements.tokens, MOST_ROWS)),
            self._take_cache_uses(),
            tuple(LimitRow(limit, reached.count, reached.subject) for limit, reached in self.limits.take().items()),
            tuple(HostRow(url, place.purpose, place.host, place.port) for url, place in self.hosts.take(MOST_ROWS)),
            tuple(AccountRow(*key, problem) for key, problem in self.accounts.take(MOST_ROWS)),
            asked_again,
            returns,
            tuple(PullRow(name, tag) for name, tag in self.pulls.recent.take(MOST_ROWS)),
            tuple(CountRow(*key, count) for key, count in self.pulls.counts.take(self._wall(), MOST_ROWS)),
            lost_lines - self._lost_lines,
            relayed_bytes - self._relayed_bytes,
            None if figures == self._figures else figures,
        )
        self._lost_lines, self._relayed_bytes, self._figures = lost_lines, relayed_bytes, figures
        return report

    def _take_cache_uses(self) -> CacheRow:
        uses = self.measurements.cache_uses
        row = CacheRow(uses.hits, uses.confirmed, uses.misses)
        uses.hits = uses.confirmed = uses.misses = 0
        return row

    def _take_returns(self) -> tuple[int, tuple[ReturnRow, ...]]:
        """Return how many clients asked again since the last report, and the latest of them in their order."""
        returns = self._asked_again.returns()
        count, self._returns = returns.count - self._returns, returns.count
        latest = returns.latest[: min(count, SHOWN)]
        return count, tuple(
            ReturnRow(one.source, one.client.family, one.subject, one.since, one.until, one.times, one.repository)
            for one in reversed(latest)
        )

    def _count_figures(self) -> FiguresRow:
        cache = self.measurements.cache
        return FiguresRow(
            {key.removeprefix("listen."): len(site.channels) for key, site in self._sites.items()},
            0 if cache is None else cache.used,
            self.requests.noted,
        )


def _flush_nothing() -> None:
    """Do nothing: no answered requests wait anywhere."""
