"""A survey of a watch in memory."""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail

from facaded.admin.overview import Overview
from facaded.admin.past_glances import PastGlances
from facaded.admin.recent_changes import RecentChanges
from facaded.admin.reporter import Reporter
from facaded.admin.request_metrics import RequestCounts
from facaded.admin.request_rates import RequestRates
from facaded.admin.status import InForce
from facaded.admin.survey import Sources, Survey
from facaded.backends.seen_hosts import SeenHosts
from facaded.history.past import HistoryError
from facaded.history.recorder import OFF
from facaded.policy.asked_again import AskedAgain
from facaded.state import Clocks
from tests.admin.measuring import RULES, WALL
from tests.watching import Watching


class Names:
    """Names that resolve."""

    def stale(self) -> dict[str, float]:
        return {}


@define
class NoHistory:
    """A history that is off; `reads` counts how often it is asked."""

    reads: int = 0

    def read(self, query: Callable[[Any], Any]) -> Deferred[Any]:
        self.reads += 1
        return fail(HistoryError(OFF))


@define
class Surveying:
    """A survey of a watch with the backends main and second."""

    watching: Watching
    counts: RequestCounts = field(factory=lambda: RequestCounts(["main", "second"]))
    history: Any = field(factory=NoHistory)
    asked_again: AskedAgain = field(factory=AskedAgain)
    survey: Survey = field(init=False)

    def __attrs_post_init__(self) -> None:
        clock, watch = self.watching.clock, self.watching.watch
        in_force = InForce(RULES, "facaded.toml", ("no failover",))
        reporter = Reporter(in_force, watch, Names(), None, self.clocks, self.asked_again, SeenHosts())
        changes = RecentChanges(self.wall)
        watch.subscribe(changes.follow)
        rates = RequestRates(clock, self.counts, lambda: None)
        past = PastGlances(clock, self.wall, self.history)
        self.survey = Survey(Sources(reporter, watch, changes, rates, past, tuple, self.clocks))

    def wall(self) -> float:
        return WALL + self.watching.clock.seconds()

    def clocks(self) -> Clocks:
        return Clocks(self.wall(), self.watching.clock.seconds())

    def look(self) -> Overview:
        """Return the overview, which is there at once."""
        overviews: list[Overview] = []
        self.survey.overview().addCallback(overviews.append)
        (overview,) = overviews
        return overview
