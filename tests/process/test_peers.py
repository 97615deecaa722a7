"""The comparison with other servers: its tables, and its load on a real facaded."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.import_times import describe_import_times, parse_import_times
from tests.bench.ratios import WIDTH, Ratio, Results, align, compare_rounds, shorten, to_markdown
from tests.bench.redirectors import NAME, ROOT, Scene, caddy, facaded
from tests.bench.servers_under_load import Server
from tests.process.daemon import Registry, running
from tests.tls.authority import Authority

SERVERS = ("facaded", "Caddy", "nginx", "HAProxy")

LONGEST_ROW = "CPU us, plain, one request"


def results_of(figures: dict[str, list[float]], row: str = "redirects/s") -> Results:
    results = Results("Caddy")
    for server, numbers in figures.items():
        for number in numbers:
            results.add(row, server, number)
    return results


def test_a_ratio_compares_figures_of_the_same_round() -> None:
    assert compare_rounds([10, 30, 80], [10, 10, 20]) == Ratio(median=3, least=1, most=4)


@pytest.mark.parametrize(("figures", "others"), [([], [1.0]), ([1.0], []), ([1.0], [0.0])])
def test_there_is_no_ratio_without_a_figure_to_compare_with(figures: list[float], others: list[float]) -> None:
    assert compare_rounds(figures, others) is None


@given(st.lists(st.tuples(st.floats(0.01, 1e6), st.floats(0.01, 1e6)), min_size=1))
def test_the_median_is_in_the_range(rounds: list[tuple[float, float]]) -> None:
    ratio = compare_rounds(*zip(*rounds, strict=True))
    assert ratio is not None
    assert ratio.least <= ratio.median <= ratio.most


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1234, "0.12"), (9.994, "9.99"), (9.996, "10.0"), (99.94, "99.9"), (99.96, "100"), (127586.4, "127,586")],
)
def test_a_number_has_three_digits(number: float, text: str) -> None:
    assert shorten(number) == text


def test_the_table_has_ratios_to_the_reference_with_their_range() -> None:
    results = results_of({"facaded": [10, 30, 80], "Caddy": [10, 10, 20]})
    assert results.ratios() == [["ratio to Caddy", "facaded"], ["redirects/s", "3.00 (1.00-4.00)"]]
    assert results.medians() == [["median", "facaded", "Caddy"], ["redirects/s", "30.0", "10.0"]]


def test_a_table_is_aligned_or_markdown() -> None:
    rows = [["median", "Caddy"], ["redirects/s", "10.0"]]
    assert align(rows) == ["median       Caddy", "redirects/s   10.0"]
    assert to_markdown(rows) == ["| median | Caddy |", "|---|---|", "| redirects/s | 10.0 |"]


def test_a_server_without_figures_has_a_dash() -> None:
    results = results_of({"facaded": [1], "Caddy": [1]})
    results.add("TLS", "Caddy", 1)
    assert results.ratios()[-1] == ["TLS", "-"]
    assert results.medians()[-1] == ["TLS", "-", "1.00"]


@given(st.lists(st.floats(0.01, 999), min_size=4, max_size=4))
def test_a_table_of_four_servers_fits_80_columns(ratios: list[float]) -> None:
    results = results_of({server: [1.0] for server in SERVERS}, LONGEST_ROW)
    for server, ratio in zip(SERVERS, ratios, strict=True):
        results.add(LONGEST_ROW, server, 1.0 if server == "Caddy" else ratio)
    assert max(map(len, [*align(results.ratios()), *align(results.medians())])) <= WIDTH


def test_a_figure_that_the_load_may_have_limited_is_listed() -> None:
    results = Results("Caddy")
    for busy in (0.5, 0.96, 0.6):
        results.add("plain, varied/s", "nginx", 1, busy)
    results.add("plain, varied/s", "Caddy", 1, 0.4)
    assert results.limits() == ["The load used nearly all of its core with nginx: plain, varied/s (96 %)"]


def test_import_times_are_summed_by_package() -> None:
    output = "import time: self [us] | cumulative | imported package\nimport time:      1200 |       1200 |   a.b\n"
    output += "import time:       300 |       1500 | a\nfacaded: started\nimport time:       900 |        900 | c\n"
    lines = describe_import_times(parse_import_times(output))
    assert lines[0] == "3 modules are imported in 2.40 ms"
    assert [line.split() for line in lines[2:5]] == [["package", "ms"], ["a", "1.50"], ["c", "0.90"]]
    assert [line.split() for line in lines[6:]] == [["module", "ms"], ["a.b", "1.20"], ["c", "0.90"], ["a", "0.30"]]


def pull(server: Server, *arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.bench.pull_load", server.host, str(server.https), "--tls", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (run.returncode, run.stderr) == (0, "")
    document: dict[str, object] = json.loads(run.stdout)
    return document


def test_facaded_redirects_every_request_of_the_load_s_pulls(tmp_path: Path) -> None:
    registry = Registry("127.0.0.2").start()
    with running(registry):
        scene = Scene(tmp_path, registry.url, Authority().write(tmp_path / "tls", NAME))
        server = facaded(scene, "127.0.0.1", ROOT, "auto")
        try:
            server.start(min(os.sched_getaffinity(0)))
            server.count_statuses()
            before = server.cpu_seconds()
            document = pull(server, "--pulls=20", "--at-once=4")
            assert document["statuses"] == {"307": 120}
            assert server.count_statuses() == {307: 120}
            assert 0 < server.cpu_seconds() - before < 10
            assert 10 < server.memory().pss <= server.memory().rss
            assert pull(server, "--idle=50")["connections"] == 50
        finally:
            server.stop()


def test_caddy_redirects_with_the_settings_that_it_is_compared_with(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("caddy")
    scene = Scene(tmp_path, "http://127.0.0.2", Authority().write(tmp_path / "tls", NAME))
    server = caddy(scene, "127.0.0.1", "caddy")
    try:
        server.start(min(os.sched_getaffinity(0)))
        assert pull(server, "--pulls=2")["statuses"] == {"307": 12}
    finally:
        server.stop()


def test_the_manual_has_a_ratio_and_its_range_for_every_server() -> None:
    figures = (ROOT / "facaded" / "manual" / "performance.md").read_text().partition("## Figures")[2].partition("##")[0]
    tables = [table.strip().splitlines() for table in figures.split("\n\n") if table.strip().startswith("|")]
    assert [table[0] for table in tables] == [
        "| ratio to Caddy | facaded | nginx | HAProxy |",
        "| ratio to docker-registry | facaded |",
    ]
    for row in (row for table in tables for row in table[2:]):
        _, *ratios = row.strip("| ").split(" | ")
        assert all(re.fullmatch(r"[\d.,]+ \([\d.,]+-[\d.,]+\)", ratio) for ratio in ratios), row
