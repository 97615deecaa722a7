"""Metrics as text, in Prometheus' format 0.0.4, with those of the process.

prometheus_client, which writes it, is imported at the first scrape, which takes some 15 ms and 0.6 MiB: a daemon that
nobody scrapes does not need it. Its own registry, that of the whole process, is not used.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from facaded.admin.metric_families import CounterFamily, GaugeFamily, MetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Writes the metrics that `families` returns, and those of the process."""

    def __init__(self, families: Callable[[], Iterable[MetricFamily]]) -> None:
        self._families = families
        self._write: Callable[[], bytes] | None = None

    def write(self) -> bytes:
        """Return the text of all metrics."""
        if self._write is None:
            self._write = _make_writer(self._families)
        return self._write()


def _make_writer(families: Callable[[], Iterable[MetricFamily]]) -> Callable[[], bytes]:
    from prometheus_client.exposition import generate_latest
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.registry import CollectorRegistry

    class FamilyCollector:
        """Collects `families` for prometheus_client, at each scrape."""

        def collect(self) -> Iterator[Metric]:
            return map(_convert, families())

    def _convert(family: MetricFamily) -> Metric:
        if isinstance(family, GaugeFamily | CounterFamily):
            kind = GaugeMetricFamily if isinstance(family, GaugeFamily) else CounterMetricFamily
            numbers = kind(family.name, family.text, labels=family.labels)
            for labels, value in family.rows.items():
                numbers.add_metric(labels, value)
            return numbers
        histograms = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, histogram in family.rows.items():
            histograms.add_metric(labels, histogram.buckets, histogram.seconds)
        return histograms

    registry = CollectorRegistry()
    registry.register(FamilyCollector())
    _make_process_collector()(registry=registry)
    return lambda: generate_latest(registry)


def _make_process_collector() -> Callable[..., object]:
    from prometheus_client.process_collector import ProcessCollector

    class OwnProcessCollector(ProcessCollector):
        """Works without /proc/stat too, which ProcSubset=pid of the systemd unit hides."""

        def _boot_time(self) -> float:
            return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    return OwnProcessCollector
