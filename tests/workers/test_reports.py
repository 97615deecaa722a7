"""What workers count is in the metrics, the status and the log of the first process, once."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve

from facaded.backends.manifests import Manifest, ManifestCache
from facaded.backends.measurements import TokenResult
from facaded.backends.reached_limits import ReachedLimit
from facaded.oci.clients import Family
from facaded.oci.requests import ManifestRead
from facaded.policy.health import Step
from facaded.policy.limits import Limit
from facaded.policy.network_hosts import HostPort, HostPurpose
from facaded.policy.pull_kinds import PullKey, PullKind
from facaded.web.answered_requests import Decision, Kind, Outcome
from facaded.web.channel import Channel
from facaded.workers.work_report import MOST_ROWS
from tests.log_lines import log_lines
from tests.workers.counting import MANIFEST, ONLY_MAIN, First, Worker

BY_TAG = ("manifest", "redirected", "307", "docker", "main")


@pytest.fixture
def first() -> Iterator[First]:
    first = First()
    yield first
    first.stop()


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_nothing_is_reported_until_something_changes(first: First, worker: Worker) -> None:
    assert worker.collect() == {
        "number": 1,
        "figures": {"connections": {"http": 0, "https": 0}, "cache_bytes": 0, "requests": 0},
    }
    assert worker.collect() == {}
    worker.answer()
    assert worker.collect()["number"] == 2
    assert worker.collect() == {}


def test_requests_of_all_processes_are_one_series(first: First) -> None:
    workers = Worker(), Worker()
    for process in (*workers, workers[1]):
        process.answer()
    first.measured.metrics.requests.note([])
    first.add(*workers)
    assert first.measured.rows("requests_total") == {BY_TAG: 3}
    assert first.measured.rows("request_duration_seconds") == {("manifest", "redirected"): 3}


def test_a_request_that_waits_in_a_batch_is_in_the_next_report(first: First, worker: Worker) -> None:
    worker.collect()
    worker.answer()
    assert first.measured.rows("requests_total") == {}
    first.add(worker)
    assert first.measured.rows("requests_total") == {BY_TAG: 1}


def test_a_status_that_http_does_not_have_takes_no_memory_of_its_own(first: First, worker: Worker) -> None:
    for status in (299, 298, 600):
        worker.answer(status=status)
    first.add(worker)
    assert first.measured.rows("requests_total") == {("manifest", "redirected", "other", "docker", "main"): 3}
    assert len(first.measured.metrics.requests.take(10)) == 1


def test_requests_of_a_backend_that_a_reload_removed_lose_its_name_but_stay_counted(
    first: First, worker: Worker
) -> None:
    first.reconfigure(ONLY_MAIN)
    worker.answer(evolve(MANIFEST, backend="second"))
    worker.work.measurements.note_token("second", TokenResult.GRANTED)
    with worker.work.measurements.measured("second")(Step.MANIFEST):
        worker.clock.advance(1)
    first.add(worker)
    assert first.measured.rows("requests_total") == {}
    assert first.measured.rows("request_duration_seconds") == {("manifest", "redirected"): 1}
    measurements = first.measured.watching.watch.measurements
    assert (measurements.requests, measurements.tokens) == ({}, {})


def test_what_backends_are_asked_is_added_up(first: First, worker: Worker) -> None:
    for process in (worker.work.measurements, first.measured.watching.watch.measurements):
        process.note_token("main", TokenResult.REFUSED)
        process.cache_uses.hits += 2
    with worker.work.measurements.measured("main")(Step.BLOB):
        worker.clock.advance(1)
    worker.work.measurements.cache_uses.misses += 1
    first.add(worker)
    assert first.measured.rows("token_requests_total")["main", "refused"] == 2
    assert first.measured.rows("backend_request_duration_seconds") == {("main", "blob"): 1}
    assert first.measured.rows("cache_requests_total") == {("hit",): 4, ("confirmed",): 0, ("miss",): 1}


def test_connections_are_those_of_now_and_relayed_bytes_and_lost_lines_those_since_the_start(
    first: First, worker: Worker
) -> None:
    first.measured.metrics.follow(Worker().sites, worker.output, lambda: None)
    worker.sites["listen.http"].channels.update([Channel(), Channel()])
    worker.sites["listen.https"].relayed_bytes += 100
    worker.output.lost_lines += 7
    first.add(worker)
    assert first.measured.rows("connections") == {("http",): 2, ("https",): 0}
    assert first.measured.row("relayed_bytes_total") == 100
    assert first.measured.row("log_lines_lost_total") == 14, "the test's first process has the same log"
    worker.sites["listen.http"].channels.clear()
    worker.sites["listen.https"].relayed_bytes += 1
    first.add(worker)
    assert first.measured.rows("connections") == {("http",): 0, ("https",): 0}
    assert first.measured.row("relayed_bytes_total") == 101


def test_a_worker_that_has_ended_has_no_connections_but_its_counts_stay(first: First, worker: Worker) -> None:
    first.measured.metrics.follow(Worker().sites, Worker().output, lambda: None)
    worker.sites["listen.http"].channels.add(Channel())
    worker.answer()
    first.add(worker)
    first.reports.forget(1)
    assert first.measured.rows("connections") == {("http",): 0, ("https",): 0}
    assert first.measured.rows("requests_total") == {BY_TAG: 1}
    successor = Worker()
    successor.answer()
    first.add(successor)
    assert first.measured.rows("requests_total") == {BY_TAG: 2}, "its reports begin with the number 1 again"


def test_a_limit_is_logged_by_the_first_process_alone_and_once_a_minute(first: First) -> None:
    workers = Worker(), Worker()
    with log_lines() as lines:
        for process in workers:
            for _ in range(5):
                process.work.limits.note(Limit.CONNECTIONS, "192.0.2.7")
        assert lines == []
        first.add(*workers)
        assert lines == ["limit reached: connections, by 192.0.2.7; 5 times in the last minute"]
        first.measured.watching.clock.advance(60)
        assert lines[1:] == ["limit reached: connections, by 192.0.2.7; 5 times in the last minute"]
    reached = first.measured.watching.watch.reached_limits.all()
    assert reached == {Limit.CONNECTIONS: ReachedLimit(10, 0.0, "192.0.2.7")}
    assert [process.clock.getDelayedCalls() for process in workers] == [[], []]


def test_a_new_cdn_is_logged_once_for_all_processes(first: First) -> None:
    workers, url = (Worker(), Worker()), "https://main.test"
    with log_lines() as lines:
        for process in workers:
            for _ in range(2):
                process.work.hosts.note(url, HostPurpose.CDN, "https://cdn.test/blob?x")
                process.work.hosts.note("https://gone.test", HostPurpose.CDN, "https://cdn.test/blob?x")
        first.add(*workers)
    assert lines == ["main.test: new CDN cdn.test:443: facaded and clients must be able to connect to it"]
    assert list(first.hosts.named({"main": url, "gone": "https://gone.test"})) == [
        ("main", HostPort(HostPurpose.CDN, "cdn.test", 443))
    ]


def test_more_hosts_than_are_remembered_are_logged_by_the_first_process_alone(first: First, worker: Worker) -> None:
    with log_lines() as lines:
        for number in range(70):
            worker.work.hosts.note("https://main.test", HostPurpose.TOKENS, f"https://{number}.test/")
        assert lines == []


def test_an_account_is_refused_and_works_again_in_the_log_of_the_first_process(first: First, worker: Worker) -> None:
    accounts = first.measured.watching.watch.refused_accounts
    with log_lines() as lines:
        worker.work.accounts.note("main", "", "its account was refused")
        worker.work.accounts.note("gone", "", "its account was refused")
        first.add(worker)
        refusal = accounts.of("main")
        assert refusal is not None
        assert refusal.problem == "its account was refused"
        worker.work.accounts.note("main", "org/app", None)
        first.add(worker)
    assert accounts.of("main") is None
    assert lines == ["main: its account was refused", "main: facaded's account works again"]


def test_clients_that_asked_a_worker_again_are_in_the_status(first: First, worker: Worker) -> None:
    for second in (10, 15):
        worker.front.ask(second, "HEAD", ManifestRead("org/app", "latest"))
    first.add(worker)
    first.add(worker)
    assert first.asked_again.returns() == evolve(
        worker.front.table.returns(), latest=first.asked_again.returns().latest
    )
    assert [one.describe() for one in first.asked_again.returns().latest] == [
        "192.0.2.7 (docker) asked again for org/app:latest: served for 60 s"
    ]


def test_of_many_clients_that_asked_again_the_latest_are_shown_in_their_order(first: First, worker: Worker) -> None:
    for number in range(7):
        for second in (10 + number, 15 + number):
            worker.front.ask(second, "HEAD", ManifestRead("org/app", f"v{number}"), address=f"192.0.2.{number}")
    first.add(worker)
    assert first.asked_again.returns().count == 7
    assert [one.source for one in first.asked_again.returns().latest] == [f"192.0.2.{n}" for n in (6, 5, 4, 3, 2)]


def test_images_that_clients_of_workers_pulled_are_recent_pulls(first: First, worker: Worker) -> None:
    first.pulls.recent.add("org/app", "v0")
    for tag in ("v1", "v2", "v1"):
        worker.answer(evolve(MANIFEST, reference=tag))
    first.add(worker)
    assert first.pulls.recent.images() == ("org/app:v1", "org/app:v2", "org/app:v0")
    assert worker.work.pulls.recent.images() == ()


def test_pulls_of_all_processes_are_one_count(first: First) -> None:
    workers = Worker(), Worker()
    for worker in workers:
        worker.answer()
        worker.answers.flush()
        worker.work.pulls.counts.finish()
    first.add(*workers)
    ((key, count),) = first.pulls.counts.take(0, 10)
    assert (key.repository, key.reference, key.kind, count) == ("org/app", MANIFEST.reference, PullKind.IMAGE, 2)
    assert first.pulls.counts.take(0, 10) == []


def test_without_a_history_no_pulls_of_workers_are_counted(first: First, worker: Worker) -> None:
    first.pulls.is_counting = False
    worker.answer()
    worker.answers.flush()
    worker.work.pulls.counts.finish()
    first.add(worker)
    assert first.pulls.counts.take(0, 10) == []


@pytest.mark.parametrize(
    ("repository", "reference", "counts"),
    [
        ("org/app", "v1", True),
        ("org/app", f"sha256:{'a' * 64}", True),
        ("org/app", "", True),
        ("", "", True),
        ("", "v1", False),
        ("Org/App", "v1", False),
        ("org/app", "v 1", False),
    ],
)
def test_only_names_that_a_pull_can_have_are_counted(
    first: First, worker: Worker, repository: str, reference: str, counts: bool
) -> None:
    key = PullKey(repository, reference, Family.DOCKER, PullKind.CHECK, is_proven=True)
    worker.work.pulls.counts.add(key, 3)
    first.add(worker)
    assert first.pulls.counts.take(0, 10) == ([(key, 3)] if counts else [])


def test_many_counts_are_reported_in_parts(first: First, worker: Worker) -> None:
    for number in range(2 * MOST_ROWS + 5):
        worker.work.pulls.counts.add(PullKey("org/app", f"v{number}", Family.DOCKER, PullKind.IMAGE, True), 1)
    sizes = []
    for body in worker.collect_all():
        sizes.append(len(body.get("counts", ())))
        first.reports.add(1, body)
    assert sizes == [MOST_ROWS, MOST_ROWS, 5]
    assert len(first.pulls.counts.take(0, 1000)) == 2 * MOST_ROWS + 5


def test_a_report_that_comes_twice_counts_once(first: First, worker: Worker) -> None:
    worker.answer()
    body = worker.collect()
    for _ in range(2):
        first.reports.add(1, body)
    assert first.measured.rows("requests_total") == {BY_TAG: 1}
    first.reports.add(2, body)
    assert first.measured.rows("requests_total") == {BY_TAG: 2}, "another worker has numbers of its own"


def test_what_is_counted_without_a_first_process_waits_for_the_new_one(first: First, worker: Worker) -> None:
    worker.answer()
    worker.work.hosts.note("https://main.test", HostPurpose.CDN, "https://cdn.test/")
    worker.work.accounts.note("main", "", "its account was refused")
    first.add(worker)
    for _ in range(3):
        worker.answer()
    new = First()
    worker.work.begin()
    new.add(worker)
    assert new.measured.rows("requests_total") == {BY_TAG: 3}, "counters begin at 0 again"
    assert new.measured.watching.watch.refused_accounts.of("main") is not None
    assert len(list(new.hosts.named({"main": "https://main.test"}))) == 1
    assert new.measured.metrics.processes.connections.keys() == {"http", "https"}


def test_an_idle_worker_tells_a_new_first_process_what_it_is_like(first: First, worker: Worker) -> None:
    worker.sites["listen.http"].channels.add(Channel())
    first.add(worker)
    new = First()
    worker.work.begin()
    new.add(worker)
    assert new.measured.metrics.processes.connections == {"http": 1, "https": 0}


def test_the_bytes_of_a_worker_s_cache_are_those_of_now(first: First, worker: Worker) -> None:
    manifest = Manifest("text/plain", "sha256:" + "a" * 64, 2, b"{}")
    cache = worker.work.measurements.cache = ManifestCache(1 << 20, 10.0, worker.clock.seconds)
    cache.store("org/app", manifest, {})
    first.add(worker)
    assert first.measured.row("cache_bytes") == cache.used > 2
    worker.work.measurements.cache = None
    first.add(worker)
    assert first.measured.row("cache_bytes") == 0


def test_a_report_is_bounded_and_the_rest_is_in_the_next_ones(first: First, worker: Worker) -> None:
    decisions = [Decision(kind, outcome, backend) for kind in Kind for outcome in Outcome for backend in ("main", None)]
    for decision in decisions:
        for status in (200, 307, 404):
            worker.answer(decision, status)
    sizes: list[int] = []
    for body in worker.collect_all():
        sizes.append(len(body.get("requests", ())))
        first.reports.add(1, body)
    assert len(decisions) * 3 > 2 * MOST_ROWS
    assert max(sizes) == MOST_ROWS
    assert sum(first.measured.rows("requests_total").values()) == len(decisions) * 3


def test_a_report_of_nonsense_is_ignored_with_one_line(first: First, worker: Worker) -> None:
    worker.answer()
    good = worker.collect()
    bad: list[dict[str, Any]] = [
        {},
        {"number": "1"},
        {"number": 0},
        good | {"number": 10**16},
        good | {"requests": [{}]},
        good | {"requests": good["requests"] * (MOST_ROWS + 1)},
        good | {"requests": [good["requests"][0] | {"kind": "nonsense"}]},
        good | {"requests": [good["requests"][0] | {"durations": {"counts": [1], "seconds": 1}}]},
        good | {"requests": [good["requests"][0] | {"durations": {"counts": [-1] * 13, "seconds": 1}}]},
        good | {"requests": [good["requests"][0] | {"durations": {"counts": [1] * 13, "seconds": float("nan")}}]},
        good | {"requests": [good["requests"][0] | {"durations": {"counts": [1] * 13, "seconds": -1}}]},
        good | {"figures": {"connections": {"http": -1}, "cache_bytes": 0, "requests": 0}},
        good | {"figures": {"connections": dict.fromkeys("abcdefghi", 1), "cache_bytes": 0, "requests": 0}},
        good | {"lost_lines": -1},
        good | {"limits": [{"limit": "connections", "count": 0, "subject": "x"}]},
        good | {"hosts": [{"backend_url": "https://main.test", "purpose": "CDN", "host": "a" * 254, "port": 1}]},
        good | {"hosts": [{"backend_url": "https://main.test", "purpose": "CDN", "host": "a", "port": 70000}]},
    ]
    before = first.numbers()
    with log_lines() as lines:
        for body in bad:
            first.reports.add(1, body)
    assert first.numbers() == before
    assert len(lines) == 1
    assert lines[0].startswith("worker 1: its reports are not valid (key 'number' is missing), so metrics and status ")
    first.reports.add(1, good)
    assert first.measured.rows("requests_total") == {BY_TAG: 1}


def test_the_nonsense_of_a_new_worker_is_logged_again(first: First) -> None:
    with log_lines() as lines:
        for _ in range(2):
            first.reports.add(1, {})
        first.reports.add(2, {})
        first.reports.forget(1)
        first.reports.add(1, {})
    assert [line.partition(":")[0] for line in lines] == ["worker 1", "worker 2", "worker 1"]


def test_texts_of_a_report_cannot_break_a_line_of_the_log(first: First, worker: Worker) -> None:
    worker.work.limits.note(Limit.CONNECTIONS, "192.0.2.7")
    body = worker.collect()
    body["limits"][0]["subject"] = "a\nb\x1b" + "c" * 1000
    body["accounts"] = [{"backend": "main", "repository": "", "problem": "a\nb"}]
    body["pulls"] = [{"repository": "not a name", "tag": "v1"}, {"repository": "org/app", "tag": "not a tag"}]
    with log_lines() as lines:
        first.reports.add(1, body)
    assert [line.partition("; ")[0] for line in lines] == [
        "limit reached: connections, by a?b?" + "c" * 76,
        "main: a?b",
    ]
    assert first.pulls.recent.images() == ()
