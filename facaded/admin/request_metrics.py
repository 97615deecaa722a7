"""Counts of answered requests. They cost each request less than a microsecond, because only a scrape adds them up."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import TypeAlias

from facaded.admin.metric_families import CounterFamily, HistogramFamily, LabelValues, MetricFamily, label_of
from facaded.net.histograms import BOUNDS, Histogram
from facaded.oci.clients import Family
from facaded.web.answered_requests import AnsweredRequest, Kind, Outcome

RequestKey: TypeAlias = tuple[Kind, Outcome, int, Family, str | None]
"""What is counted together: kind, answer, status, family of clients, and backend, None without one."""

CODES = frozenset(int(status) for status in HTTPStatus)
"""The statuses that are label values: a backend whose blobs are relayed could make up others."""

OTHER_CODE = 0
"""Stands for every status that is no label value."""


class RequestCounts:
    """Counts answered requests, with how long they took. `backends` are those of the settings.

    `noted` is how many this process answered.
    """

    def __init__(self, backends: Collection[str]) -> None:
        self._histograms: dict[RequestKey, Histogram] = {}
        self._removed: dict[tuple[Kind, Outcome], Histogram] = {}
        self.noted = 0
        self.reconfigure(backends)

    def note(self, batch: Sequence[AnsweredRequest]) -> None:
        """Count requests; it is a `BatchSubscriber`."""
        self.noted += len(batch)
        for answered in batch:
            decision, seconds = answered.decision, answered.seconds
            key = decision.kind, decision.outcome, answered.status, answered.client.family, decision.backend
            histogram = self._histograms.get(key)
            if histogram is None:
                histogram = self._histograms[key] = Histogram()
            histogram.counts[bisect_left(BOUNDS, seconds)] += 1
            histogram.seconds += seconds

    def add(self, key: RequestKey, durations: Histogram) -> None:
        """Count requests that another process answered; their backend is forgotten if the settings do not have it."""
        kind, outcome, status, family, backend = key
        if backend not in self._backends:
            self._removed.setdefault((kind, outcome), Histogram()).add(durations)
            return
        known = kind, outcome, status if status in CODES else OTHER_CODE, family, backend
        self._histograms.setdefault(known, Histogram()).add(durations)

    def take(self, most: int) -> list[tuple[RequestKey, Histogram]]:
        """Remove what is counted under the first `most` keys, and return it."""
        return [(key, self._histograms.pop(key)) for key in list(islice(self._histograms, most))]

    def reconfigure(self, backends: Collection[str]) -> None:
        """Forget the requests that other backends than these answered; those in progress do not count either."""
        self._backends = frozenset((None, *backends))
        for key in [key for key in self._histograms if key[4] not in self._backends]:
            self._removed.setdefault(key[:2], Histogram()).add(self._histograms.pop(key))

    def totals(self) -> Mapping[tuple[Outcome, Family], int]:
        """Return how many requests are counted, by answer and family. Those of removed backends do not count."""
        totals: dict[tuple[Outcome, Family], int] = {}
        for (_, answer, _, family, _), histogram in self._histograms.items():
            totals[answer, family] = totals.get((answer, family), 0) + histogram.total
        return totals

    def families(self) -> Iterator[MetricFamily]:
        """Return the metrics of all requests."""
        totals: dict[LabelValues, float] = {}
        durations: dict[LabelValues, Histogram] = {}
        for (kind, answer), histogram in self._removed.items():  # they have no backend, and must not go back
            durations.setdefault((label_of(kind), label_of(answer)), Histogram()).add(histogram)
        for (kind, answer, status, family, backend), histogram in self._histograms.items():
            if backend not in self._backends:
                continue
            way = label_of(kind), label_of(answer)
            labels = (*way, str(status) if status in CODES else "other", family.value, backend or "")
            totals[labels] = totals.get(labels, 0) + histogram.total
            durations.setdefault(way, Histogram()).add(histogram)
        yield CounterFamily(
            "facaded_requests_total",
            "Answered requests of clients; backend is empty for answers that come from none.",
            ("kind", "answer", "code", "family", "backend"),
            totals,
        )
        yield HistogramFamily(
            "facaded_request_duration_seconds",
            "Time from the last byte of a request to the last byte of its answer.",
            ("kind", "answer"),
            durations,
        )
