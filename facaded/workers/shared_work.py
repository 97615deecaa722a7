"""The work of all processes, in the first one: what the workers report is added up, and what they learn is shared."""

import os
import time
from functools import partial

from twisted.internet.interfaces import IReactorTime

from facaded.admin.metrics import Metrics
from facaded.admin.processes import UP, ProcessLife
from facaded.answering import Answering
from facaded.backends.watch import Watch
from facaded.config.sections import Config
from facaded.net.shared_listening import FIRST
from facaded.workers import shared_askings
from facaded.workers.knowledge import Knowledge
from facaded.workers.knowledge_body import KIND
from facaded.workers.process_channel import Message, Tell
from facaded.workers.reports import WorkerReports
from facaded.workers.shared_askings import SharedAskings
from facaded.workers.sharing import Topic
from facaded.workers.work_report import REPORT
from facaded.workers.worker_pool import WorkerPool


class SharedWork:
    """Adds up the `reports` of the workers of `pool`, and shares what is learned of backends and clients.

    `topics` are what the workers are told, and what is done with what they say, by the kind of the message.
    """

    def __init__(
        self,
        clock: IReactorTime,
        pool: WorkerPool,
        metrics: Metrics,
        reports: WorkerReports,
        answering: Answering,
    ) -> None:
        self._clock = clock
        self._began_at = clock.seconds()
        self._pool = pool
        self._reports = reports
        self._facade = answering.facade
        self._knowledge = Knowledge(clock, partial(pool.broadcast, KIND))
        self._askings = SharedAskings(clock, answering.asked_again, partial(pool.broadcast, shared_askings.KIND))
        self.topics = {
            shared_askings.KIND: Topic(self._tell_served, self._take_askings),
            REPORT: Topic(receive=self._take_report, lose=reports.forget),
            KIND: Topic(self._tell_known, self._take_knowledge),
        }
        metrics.processes.follow(self._lives)
        pool.starts.note_restart = metrics.processes.note_restart

    def follow(self, config: Config, watch: Watch) -> None:
        """Share what is learned with these settings, which the facade has."""
        fetcher = self._facade.fetcher
        self._reports.reconfigure(config.rules)
        learned = fetcher.recent, fetcher.cache.tags, watch.quotas, fetcher.elsewhere, fetcher.cdn_results
        self._knowledge.follow(*learned, config.backends)

    def _take_report(self, number: int, message: Message) -> None:
        if isinstance(report := message.get(REPORT), dict):
            self._reports.add(number, report)

    def _take_knowledge(self, number: int, message: Message) -> None:
        self._knowledge.receive(message)
        self._pool.broadcast(KIND, message, but=number)

    def _take_askings(self, number: int, message: Message) -> None:
        self._askings.receive(message)
        self._pool.broadcast(shared_askings.KIND, message, but=number)

    def _tell_served(self, tell: Tell) -> None:
        tell(shared_askings.KIND, self._askings.known())

    def _tell_known(self, tell: Tell) -> None:
        for message in self._knowledge.known():
            tell(KIND, message)

    def _lives(self) -> list[ProcessLife]:
        """Return all processes, this one first."""
        offset = time.time() - self._clock.seconds()
        own = ProcessLife(FIRST, os.getpid(), self._began_at + offset, UP)
        others = [
            ProcessLife(worker.number, worker.pid or 0, worker.began_at + offset, worker.state)
            for worker in self._pool.workers
        ]
        return [own, *others]
