"""The metrics of a watch in memory."""

from collections.abc import Mapping

from attrs import define, field

from facaded.admin.metric_families import HistogramFamily, LabelValues, MetricFamily
from facaded.admin.metrics import Metrics
from facaded.policy.decision import BackendRules, Route, Rules
from facaded.policy.repositories import parse
from facaded.tls.termination import Termination
from tests.watching import Watching

WALL = 1_800_000_000.0
"""What wall time is ahead of the monotonic time of tests, in seconds."""

RULES = Rules(
    repositories=(parse("org/*"),),
    backends={"main": BackendRules("https://main.test"), "second": BackendRules("https://second.test")},
)


@define
class Reloads:
    """The outcome of the last reload."""

    succeeded: bool = True


@define
class Measured:
    """Metrics of a watch with the backends main and second. `rows` has a family's numbers by label values."""

    watching: Watching = field(factory=lambda: Watching.begin("main", "second"))
    rules: Rules = RULES
    tls: Termination | None = None
    reloads: Reloads = field(factory=Reloads)
    metrics: Metrics = field(init=False)

    def __attrs_post_init__(self) -> None:
        clock = self.watching.clock
        watch = self.watching.watch
        self.metrics = Metrics(watch, self.rules, self.reloads, self.tls, lambda: WALL + clock.seconds())

    @property
    def families(self) -> dict[str, MetricFamily]:
        families = list(self.metrics.families())
        assert len({family.name for family in families}) == len(families), "a name stands for one family"
        return {family.name: family for family in families}

    def rows(self, name: str) -> Mapping[LabelValues, float]:
        """Return the numbers of a family, with or without the prefix of its name; of histograms, how many there are."""
        family = self.families[f"facaded_{name}"]
        if isinstance(family, HistogramFamily):
            return {labels: histogram.total for labels, histogram in family.rows.items()}
        return family.rows

    def row(self, name: str) -> float:
        """Return the number of a family without labels."""
        return self.rows(name)[()]

    def states(self) -> dict[str, str]:
        """Return the state of each backend."""
        return {backend: state for (backend, state), value in self.rows("backend_state").items() if value}

    def active(self, purpose: str = "redirect", route: str = "**") -> list[str]:
        """Return the active backends of a route."""
        rows = self.rows("backend_active")
        return [labels[2] for labels, value in rows.items() if value and labels[:2] == (route, purpose)]


ROUTED = Rules(
    repositories=(parse("org/*"),),
    backends=RULES.backends,
    named_routes=(
        Route(("main", "second"), (parse("org/a"), parse("org/b"))),
        Route(("main", "second"), (parse("**"),)),
    ),
)
"""Rules with a route that has several patterns, and one that leaves nothing to the last route."""
