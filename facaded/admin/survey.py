"""The survey: collects the overview from the parts of the daemon, at most once a second."""

from collections.abc import Callable, Iterator, Sequence

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from facaded.admin.day_strip import ConditionSpan, trace_day
from facaded.admin.headline import AMBER, STARTING
from facaded.admin.overview import BackendOverview, Overview, PullOverview, RateOverview, StepOverview
from facaded.admin.past_glances import PULL_DAYS, PastGlance, PastGlances
from facaded.admin.recent_changes import RecentChanges
from facaded.admin.reporter import Reporter
from facaded.admin.request_rates import RequestRates
from facaded.admin.status import AskedAgainStatus, Headline, Status, Wall
from facaded.backends.watch import Watch
from facaded.history.past import DAY
from facaded.net.single_flight import SingleFlight
from facaded.policy.health import Health, Step, Verdict
from facaded.policy.reasons import DEGRADED, condition
from facaded.policy.samples import LONG_WINDOW
from facaded.policy.snapshot import Snapshot
from facaded.state import Clocks
from facaded.tls.acme.order_status import OrderStatus

PAUSE = 1.0
"""Least seconds between two overviews, whoever asks for them."""

RUNS = ""
"""The name under which the history has the starts and stops of the daemon."""


@frozen
class Sources:
    """Where the facts come from. `orders` returns the renewals of certificates, `clocks` the present times."""

    reporter: Reporter
    watch: Watch
    changes: RecentChanges
    rates: RequestRates
    past: PastGlances
    orders: Callable[[], Sequence[OrderStatus]]
    clocks: Callable[[], Clocks]


class Survey(Service):
    """Collects the overview, while it runs: rates need samples."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._latest: Overview | None = None
        self._collected_at = 0.0
        self._flights: SingleFlight[str, Overview] = SingleFlight()

    def startService(self) -> None:
        Service.startService(self)
        self._sources.rates.start()

    def stopService(self) -> None:
        Service.stopService(self)
        self._sources.rates.stop()

    def overview(self) -> Deferred[Overview]:
        """Return the overview: the latest one if it is not a second old."""
        return self._flights.get("", self._collect)

    async def _collect(self) -> Overview:
        latest, sources = self._latest, self._sources
        if latest is not None and sources.clocks().monotonic - self._collected_at < PAUSE:
            return latest
        past = await sources.past.look()
        self._latest = latest = self._build(past)
        self._collected_at = sources.clocks().monotonic
        return latest

    def _build(self, past: PastGlance) -> Overview:
        sources, clocks = self._sources, self._sources.clocks()
        status = sources.reporter.report(sources.orders())
        rates = sources.rates.rates()
        pulls = past.pulls
        return Overview(
            at=clocks.wall,
            headline=status.headline or Headline(AMBER, STARTING),
            status=without_clients(status),
            backends=tuple(self._backends(clocks.to_wall, past)),
            changes=sources.changes.last(past.changes),
            requests=RateOverview(
                round(sources.rates.window, 1), round(sum(rate.per_second for rate in rates), 3), rates
            ),
            pulls=None if pulls is None else PullOverview(PULL_DAYS, pulls.whole, pulls.images),
            history=past.problem,
        )

    def _backends(self, wall: Wall, past: PastGlance) -> Iterator[BackendOverview]:
        snapshot = self._sources.watch.snapshot()
        for name, health in snapshot.watch_state.healths.items():
            counts = health.samples.counts(snapshot.at, LONG_WINDOW).values()
            next_at = self._sources.watch.probers.next_at(name)
            yield BackendOverview(
                name=name,
                next_probe=None if next_at is None else wall(next_at),
                sent=sum(count.sent for count in counts),
                failed=sum(count.failed for count in counts),
                window=LONG_WINDOW,
                steps=tuple(self._steps(name, health, snapshot, wall)),
                day=_trace(name, health, snapshot, past, wall),
            )

    def _steps(self, name: str, health: Health, snapshot: Snapshot, wall: Wall) -> Iterator[StepOverview]:
        """Yield the steps that were asked; the others have a stand-in, or are not reached."""
        latest, proofs = self._sources.watch.measurements.latest, snapshot.plan.backends[name].proofs
        last = health.last
        failing = last.step if last is not None and last.verdict is not Verdict.GOOD else None
        for step in Step:
            latency, passed_at = latest.get((name, step)), proofs.passed_at(step)
            if latency is not None or step is failing:
                latency = None if latency is None else round(latency, 4)
                passed = None if passed_at is None else wall(passed_at)
                yield StepOverview(step.value, latency, passed, step is failing)


def without_clients(status: Status) -> Status:
    """Return a status without what clients are known by; the headline has a place of its own in the overview."""
    limits = tuple(evolve(limit, subject="") for limit in status.limits)
    return evolve(status, limits=limits, asked_again=AskedAgainStatus(status.asked_again.count), headline=None)


def _trace(name: str, health: Health, snapshot: Snapshot, past: PastGlance, wall: Wall) -> tuple[ConditionSpan, ...]:
    """Return what a backend was like in the last day; nothing without a history."""
    if past.problem:
        return ()
    since = max(health.since, health.sound_since or health.since)
    if condition(health) == DEGRADED and health.degraded is not None:
        since = health.degraded.since
    now, rows = wall(snapshot.at), past.conditions
    current = ConditionSpan(wall(since), now, condition(health))
    return trace_day(rows.get(name, ()), rows.get(RUNS, ()), now - DAY, current)
