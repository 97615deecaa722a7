"""Workers that count, and the first process that adds their reports up, without processes."""

import json
from collections.abc import Iterator
from typing import Any

from attrs import define, evolve, field
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from facaded.admin.metric_families import HistogramFamily
from facaded.backends.seen_hosts import SeenHosts
from facaded.oci.clients import identify
from facaded.policy.asked_again import AskedAgain
from facaded.policy.decision import Rules
from facaded.web.accesslog import TwistedOutput
from facaded.web.answer_batches import AnswerBatches
from facaded.web.answered_requests import AnsweredRequest, Decision, Kind, Outcome
from facaded.web.pulls import Pulls
from facaded.web.server import BoundedSite
from facaded.workers.counted_work import CountedWork
from facaded.workers.reports import WorkerReports
from tests.admin.measuring import RULES, Measured
from tests.policy.asking import Front

MOST_REPORTS = 50
"""Most reports that a test collects at once."""

MANIFEST = Decision(Kind.MANIFEST, Outcome.REDIRECTED, "main", "org/app", "latest")

Numbers = dict[tuple[str, tuple[str, ...]], object]
"""What the metrics have, by family and label values: a number, or the counts and the sum of a histogram."""


def answered(decision: Decision = MANIFEST, status: int = 307, seconds: float = 0.0625) -> AnsweredRequest:
    """Return an answered request; sums of such durations are exact."""
    client = identify("docker/28")
    return AnsweredRequest("192.0.2.7", "GET", "/v2/x", client, decision, status, 10, seconds, 1_800_000_000.0)


def on_the_wire(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report as the other end of the channel reads it."""
    body: dict[str, Any] = json.loads(json.dumps(report, allow_nan=False))
    return body


class LosingOutput(TwistedOutput):
    """A log that loses lines."""

    lost_lines = 0


@define
class Worker:
    """A worker: what it counts, its sites, its log, and clients that ask again."""

    clock: Clock = field(factory=Clock)
    wall: float = 0.0
    work: CountedWork = field(init=False)
    sites: dict[str, BoundedSite] = field(init=False)
    output: LosingOutput = field(factory=LosingOutput)
    front: Front = field(factory=Front)
    answers: AnswerBatches = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.work = CountedWork(self.clock, lambda: self.wall)
        self.sites = {key: BoundedSite(Resource(), self.clock) for key in ("listen.http", "listen.https")}
        work = self.work
        self.answers = AnswerBatches(self.clock, [work.requests.note, work.pulls.follow], [work.pulls.count])
        self.work.follow(self.sites, self.output, self.front.table, self.answers.flush)

    def answer(self, decision: Decision = MANIFEST, status: int = 307, seconds: float = 0.0625) -> None:
        self.answers.follow(answered(decision, status, seconds))

    def collect(self) -> dict[str, Any]:
        return on_the_wire(self.work.collect())

    def collect_all(self) -> Iterator[dict[str, Any]]:
        """Collect reports until there is nothing left, which is soon."""
        for _ in range(MOST_REPORTS):
            if not (body := self.collect()):
                return
            yield body
        raise AssertionError("the reports have no end")


@define
class First:
    """The first process: its metrics, and what its status and its log are made of."""

    measured: Measured = field(factory=Measured)
    pulls: Pulls = field(factory=Pulls)
    hosts: SeenHosts = field(factory=SeenHosts)
    asked_again: AskedAgain = field(factory=AskedAgain)
    reports: WorkerReports = field(init=False)

    def __attrs_post_init__(self) -> None:
        watch, metrics = self.measured.watching.watch, self.measured.metrics
        self.reports = WorkerReports(metrics, watch, self.pulls, self.hosts, self.asked_again, self.measured.rules)

    def reconfigure(self, rules: Rules) -> None:
        """Use the settings of a reload."""
        watching = self.measured.watching
        watching.watch.reconfigure(watching.backends.plan(*rules.backends))
        watching.advance(0.1)
        self.reports.reconfigure(rules)
        self.measured.metrics.reconfigure(rules)

    def add(self, *workers: Worker) -> None:
        """Add the reports of workers, which are numbered from 1, until they have none left."""
        for number, worker in enumerate(workers, 1):
            for body in worker.collect_all():
                self.reports.add(number, body)

    def numbers(self) -> Numbers:
        """Return everything that the metrics count."""
        numbers: Numbers = {}
        for name, family in self.measured.families.items():
            if isinstance(family, HistogramFamily):
                for labels, histogram in family.rows.items():
                    numbers[name, labels] = histogram.counts, histogram.seconds
            else:
                numbers.update({(name, labels): value for labels, value in family.rows.items()})
        return numbers

    def stop(self) -> None:
        """Stop the timers of the log."""
        self.measured.watching.watch.stopService()


ONLY_MAIN = evolve(RULES, backends={"main": RULES.backends["main"]})
"""The rules after a reload that removed the backend `second`."""
