"""The text of the metrics, read back by prometheus_client's own parser."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.process_collector import ProcessCollector

from facaded.admin.exposition import Exposition
from facaded.admin.metric_families import CounterFamily, GaugeFamily, HistogramFamily, MetricFamily, single
from facaded.net.histograms import Histogram
from tests.admin.measuring import Measured
from tests.watching import up


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_numbers_and_histograms_are_written_with_their_labels() -> None:
    histogram = Histogram()
    histogram.observe(0.2)
    families: list[MetricFamily] = [
        GaugeFamily("facaded_gauge", "A gauge.", rows=single(1.5)),
        CounterFamily("facaded_counter_total", "A counter.", ("name",), {('a "quoted"\nname',): 3}),
        HistogramFamily("facaded_wait_seconds", "A histogram.", ("step",), {("ping",): histogram}),
    ]
    read = samples(Exposition(lambda: families).write())
    assert read["facaded_gauge", ()] == 1.5
    assert read["facaded_counter_total", (("name", 'a "quoted"\nname'),)] == 3
    assert read["facaded_wait_seconds_bucket", (("le", "0.1"), ("step", "ping"))] == 0
    assert read["facaded_wait_seconds_bucket", (("le", "0.25"), ("step", "ping"))] == 1
    assert read["facaded_wait_seconds_sum", (("step", "ping"),)] == 0.2
    assert read["process_open_fds", ()] > 0


def test_the_metrics_of_the_process_need_no_proc_stat(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_: ProcessCollector) -> float:
        raise OSError

    monkeypatch.setattr(ProcessCollector, "_boot_time", hidden)  # as under ProcSubset=pid of the unit
    measured = samples(Exposition(lambda: ()).write())
    assert measured["process_resident_memory_bytes", ()] > 1 << 20
    assert abs(measured["process_start_time_seconds", ()] - time.time()) < 86400


def test_each_scrape_has_the_numbers_of_its_time() -> None:
    measured = Measured(up("main", "second"))
    exposition = Exposition(measured.metrics.families)
    pinned = "facaded_backend_pinned", (("backend", "second"),)
    assert samples(exposition.write())[pinned] == 0
    measured.watching.watch.pin("second", None)
    assert samples(exposition.write())[pinned] == 1


def test_no_series_is_written_twice() -> None:
    lines = Exposition(Measured(up("main", "second")).metrics.families).write().decode().splitlines()
    names = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(set(names)) == len(names)
