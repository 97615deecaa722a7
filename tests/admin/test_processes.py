"""The processes that answer clients, in metrics and status."""

from twisted.internet.task import Clock
from twisted.web.resource import Resource

from facaded.admin.processes import UP, Figures, ProcessLife
from facaded.admin.status import WorkerStatus
from facaded.net.json_documents import to_json
from facaded.web.accesslog import TwistedOutput
from facaded.web.answer_batches import AnswerBatches
from facaded.web.channel import Channel
from facaded.web.server import BoundedSite
from tests.admin.measuring import Measured
from tests.admin.test_metrics import NOTHING_WAITS, answered

LIVES = [ProcessLife(0, 10, 1000.0, UP), ProcessLife(1, 11, 1001.0, UP), ProcessLife(2, 12, 1002.0, "starting")]


def test_a_daemon_without_workers_is_one_process() -> None:
    measured = Measured()
    assert measured.row("workers") == measured.row("workers_configured") == 1
    assert measured.row("worker_restarts_total") == 0
    assert measured.metrics.worker_statuses() == ()


def test_processes_that_answer_clients_are_counted() -> None:
    measured = Measured()
    measured.metrics.processes.follow(lambda: LIVES)
    measured.metrics.processes.note_restart()
    assert (measured.row("workers"), measured.row("workers_configured")) == (2, 3)
    assert measured.row("worker_restarts_total") == 1
    measured.metrics.processes.follow(lambda: LIVES[2:])
    assert measured.row("workers") == 0


def test_a_listener_s_connections_and_the_caches_are_summed_over_the_processes() -> None:
    measured, clock = Measured(), Clock()
    sites = {key: BoundedSite(Resource(), clock) for key in ("listen.http", "listen.admin")}
    measured.metrics.follow(sites, TwistedOutput(), NOTHING_WAITS)
    sites["listen.http"].channels.add(Channel())
    processes = measured.metrics.processes
    processes.put(1, Figures({"http": 2, "https": 5}, 100, 0))
    processes.put(2, Figures({"http": 3}, 20, 0))
    assert measured.rows("connections") == {("http",): 6, ("admin",): 0}, "this process has no listener https"
    assert measured.row("cache_bytes") == 120
    processes.forget(1)
    processes.forget(7)
    assert measured.rows("connections") == {("http",): 4, ("admin",): 0}
    assert measured.row("cache_bytes") == 20


def test_each_process_has_a_status_with_its_clients_and_its_requests() -> None:
    measured, clock = Measured(), Clock()
    answers = AnswerBatches(clock, [measured.metrics.requests.note])
    sites = {key: BoundedSite(Resource(), clock) for key in ("listen.http", "listen.admin", "listen.control")}
    measured.metrics.follow(sites, TwistedOutput(), answers.flush)
    for site in sites.values():
        site.channels.add(Channel())
    answers.follow(answered())
    processes = measured.metrics.processes
    processes.follow(lambda: LIVES)
    processes.put(1, Figures({"http": 2, "https": 3}, 100, 40))
    statuses = measured.metrics.worker_statuses()
    assert statuses == (
        WorkerStatus(0, 10, 1000.0, "up", 1, 1),
        WorkerStatus(1, 11, 1001.0, "up", 5, 40),
        WorkerStatus(2, 12, 1002.0, "starting", 0, 0),
    )
    assert to_json(statuses[1]) == {
        "number": 1,
        "pid": 11,
        "since": 1001.0,
        "state": "up",
        "connections": 5,
        "requests": 40,
    }
