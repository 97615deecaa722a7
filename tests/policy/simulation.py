"""Simulated hours of a main registry that fails some of its requests, beside a second one that never does.

Percentages are those of single requests, which fail independently. All runs are seeded. The table that
`python -m tests.policy.simulation` prints has more runs than the tests.
"""

import statistics
import sys
from collections.abc import Callable, Mapping
from random import Random

from attrs import define, evolve, field, frozen

from facaded.backends.prober import EARLY_BURST, EARLY_INTERVAL, EARLY_PAUSE
from facaded.policy.evidence import Attempt
from facaded.policy.failover import ActiveBackend, Selector
from facaded.policy.health import (
    CONFIRMATIONS,
    Canary,
    Confirmations,
    Health,
    ProbeDepth,
    Purpose,
    Result,
    Settings,
    State,
    Step,
    Verdict,
)
from facaded.policy.probe_schedule import probe_delay, probe_depth
from facaded.policy.transitions import observe, observe_attempt

HOUR = 3600.0
DAY = 24 * HOUR
LATENCY = 0.03
ASK_AGAIN = 2.0
"""Seconds after which a client whose blob failed asks for it again."""

CANARY = Canary(True, "sha256:" + "a" * 64)
EVERYTHING = tuple(Step)


@frozen
class Fault:
    """How the main registry fails: the `rate` of failing requests of each of `steps`, from the second `start` to `end`.

    With `slow_probes`, every tenth probe instead takes the time-out, and nothing else fails.
    """

    rate: float
    steps: tuple[Step, ...]
    start: float = 0.0
    end: float = DAY * 10
    slow_probes: bool = False


@define
class Simulation:
    """One run: the main registry's probes and, with `traffic`, one served blob a second, each of another client.

    `changes` are the times at which the active backend for serving changes, `active_time` the seconds during which the
    main one is active. `shift` is the time of the first probe.
    """

    fault: Fault
    traffic: bool
    random: Random
    settings: Settings = field(factory=Settings)
    changes: list[float] = field(factory=list)
    requests: int = 0
    probes: int = 0
    now: float = 0.0
    health: Health = field(init=False)
    early: list[float] = field(factory=list)
    ask_again: list[float] = field(factory=list)
    active: ActiveBackend = field(factory=lambda: ActiveBackend("main", -HOUR))
    active_time: float = 0.0

    def run(self, seconds: float) -> "Simulation":
        """Simulate until the time `seconds`."""
        next_probe, next_blob, deep, last_end = self.random.uniform(0, self.settings.interval), 0.5, False, 0.0
        deep_at = self.random.uniform(-self.settings.deep_interval, 0)
        self.health = Health(State.UP, -HOUR, canary_seen=True, body_at=0.0, deep_at=deep_at)
        while self.now < seconds:
            due = self._failback_at()
            blob = next_blob if self.traffic and self.active.backend == "main" else seconds
            again = self.ask_again[0] if self.ask_again else seconds
            moment = min(next_probe, blob, again, due, seconds)
            self._pass(moment)
            if moment == seconds:
                break
            if moment == next_probe:
                end = self._probe(deep)
                deep, next_probe = False, end + self._delay(end)
                last_end = end
            elif moment == blob:
                next_blob += 1.0
                self._serve_blob()
            elif moment == again:
                self.ask_again.pop(0)
                if self._may_probe_early(moment) and next_probe > moment:
                    earliest = max(moment, last_end + EARLY_PAUSE)
                    if earliest < next_probe:
                        self.early.append(moment)
                        next_probe, deep = earliest, True
            else:
                self._choose(moment)
            next_blob = max(next_blob, self.now)
        return self

    def _pass(self, moment: float) -> None:
        if self.active.backend == "main":
            self.active_time += moment - self.now
        self.now = moment

    def _failback_at(self) -> float:
        due = self._selector.failback_at(self._healths, self.active)
        return self.now + DAY if due is None else max(due, self.now)

    @property
    def _selector(self) -> Selector:
        return Selector(("main", "second"), self.settings.failback_after, Purpose.SERVE)

    @property
    def _healths(self) -> Mapping[str, Health]:
        return {"main": self.health, "second": Health(State.UP, -HOUR)}

    def _choose(self, moment: float) -> None:
        active = self._selector.choose(self._healths, self.active, moment)
        if active.backend != self.active.backend:
            self.changes.append(moment)
        self.active = active

    def _fails(self, step: Step) -> bool:
        fault = self.fault
        in_time = fault.start <= self.now < fault.end
        return in_time and step in fault.steps and self.random.random() < fault.rate

    def _probe(self, deep: bool) -> float:
        depth = probe_depth(self.health, self.now, self.settings)
        result = self._result(evolve(depth, deep=depth.deep or deep))
        self.requests += result.requests
        if result.verdict is not Verdict.GOOD:
            self.early.clear()
        end = self.now + result.latency
        self.health = observe(self.health, result, end, self.settings)
        self._choose(end)
        return end

    def _result(self, depth: ProbeDepth) -> Result:
        steps = [Step.PING, Step.TOKEN, Step.MANIFEST, *([Step.BODY] if depth.body else [])]
        steps += [Step.BLOB, Step.CDN] if depth.deep else []
        passed: list[Step] = []
        self.probes += 1
        slow = self.fault.slow_probes and self.probes % 10 == 0
        for step in steps:
            if self._fails(step) or (slow and step is Step.MANIFEST):
                failed = sum(self._fails(step) for _ in range(CONFIRMATIONS)) if depth.confirm else 0
                confirmations = Confirmations(CONFIRMATIONS, failed, LATENCY) if depth.confirm else None
                latency = self.settings.timeout if slow else LATENCY * (len(passed) + 1)
                count = len(passed) + 1 + (CONFIRMATIONS if depth.confirm else 0)
                bad = Result(Verdict.BAD, step, "answered 500", latency, 0.0, count)
                return evolve(bad, deep=depth.deep, passed=tuple(passed), confirmations=confirmations)
            passed.append(step)
        good = Result(Verdict.GOOD, passed[-1], "all steps passed", LATENCY * len(passed), 0.0, len(passed), CANARY)
        return evolve(good, deep=depth.deep, passed=tuple(passed))

    def _delay(self, end: float) -> float:
        return probe_delay(self.health, self.settings, self.random.random(), end)

    def _serve_blob(self) -> None:
        attempt = Attempt("main", Step.BLOB, not self._fails(Step.BLOB), "org/app", str(self.now))
        self.health = observe_attempt(self.health, attempt, self.now, self.settings)
        if not attempt.good:
            self._choose(self.now)
        if not attempt.good or self._fails(Step.CDN):
            self.ask_again.append(self.now + ASK_AGAIN)

    def _may_probe_early(self, moment: float) -> bool:
        self.early = [start for start in self.early if start > moment - EARLY_INTERVAL * EARLY_BURST]
        return self.health.state is not State.DOWN and len(self.early) < EARLY_BURST


@frozen
class Row:
    """A row of the table: a fault, how long, how many runs, and what is measured."""

    title: str
    fault: Fault
    traffic: bool
    seconds: float
    runs: int

    def simulate(self, runs: int | None = None) -> list[Simulation]:
        """Return the runs."""
        seeds = [Random(f"{self.title} {number}") for number in range(runs or self.runs)]
        return [Simulation(self.fault, self.traffic, seed).run(self.seconds) for seed in seeds]


CDN = (Step.CDN,)
ONSET = 900.0

ROWS = (
    Row("CDN 40 %, a blob a second", Fault(0.4, CDN, ONSET), True, ONSET + HOUR, 200),
    Row("CDN 20 %, a blob a second", Fault(0.2, CDN, ONSET), True, ONSET + HOUR, 200),
    Row("CDN 40 %, idle", Fault(0.4, CDN, ONSET), False, ONSET + HOUR, 200),
    Row("CDN 20 %, idle", Fault(0.2, CDN, ONSET), False, ONSET + HOUR, 200),
    Row("10 % of everything, a blob a second", Fault(0.1, EVERYTHING), True, DAY, 60),
    Row("10 % of everything, idle", Fault(0.1, EVERYTHING), False, DAY, 60),
    Row("3 % of everything, a blob a second", Fault(0.03, EVERYTHING), True, DAY, 200),
    Row("3 % of everything, idle", Fault(0.03, EVERYTHING), False, DAY, 200),
    Row("every tenth probe slow", Fault(0.0, (), slow_probes=True), False, DAY, 60),
    Row("healthy, idle", Fault(0.0, ()), False, HOUR, 20),
)


def left_after(runs: list[Simulation], start: float) -> list[float]:
    """Return, in order, how many seconds after `start` each run left the main registry; a day if it did not."""
    return sorted(next((moment - start for moment in run.changes if moment >= start), DAY) for run in runs)


def percentile(values: list[float], part: float) -> float:
    """Return the value below which `part` of the ordered values lie."""
    return values[min(int(len(values) * part), len(values) - 1)]


def write_table(write: Callable[[str], object], runs: int | None = None) -> None:
    """Simulate all rows and write the table."""
    write(f"{'fault':40} {'left: median':>13} {'95 %':>8} {'main active':>12} ")
    write(f"{'changes':>8} {'none':>6} {'req/min':>8}\n")
    for row in ROWS:
        done = row.simulate(runs)
        times, length = left_after(done, row.fault.start), row.seconds - row.fault.start
        share = statistics.mean(max(run.active_time - row.fault.start, 0) / length for run in done)
        counts = [len(run.changes) for run in done]
        rate = statistics.mean(run.requests for run in done) / row.seconds * 60
        write(
            f"{row.title:40} {percentile(times, 0.5):11.0f} s {percentile(times, 0.95):6.0f} s {share:10.1%}  "
            f"{statistics.median(counts):7.0f}  {counts.count(0) / len(counts):5.1%} {rate:7.1f}\n"
        )


if __name__ == "__main__":
    write_table(sys.stdout.write, int(sys.argv[1]) if len(sys.argv) > 1 else None)
