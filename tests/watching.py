"""A watch over backends whose probes are answered by hand."""

from collections.abc import Mapping
from random import Random

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.decision import RoutingState
from facaded.policy.health import ProbeDepth, Result, Settings, Step, Verdict
from facaded.policy.plan import Plan, WatchedBackend
from facaded.policy.watch_state import WatchState

GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
BAD = Result(Verdict.BAD, Step.PING, "connection refused", 0.1)
SETTINGS = Settings(interval=10, fast_interval=1, timeout=3, fall=2, rise=2)


@define
class Scripted:
    """Backends that answer a probe when they are told to."""

    waiting: dict[str, Deferred[Result]] = field(factory=dict)
    cancelled: list[str] = field(factory=list)
    asked: list[str] = field(factory=list)
    climbs: dict[str, list[ProbeDepth]] = field(factory=dict)

    def plan(self, *names: str, urls: Mapping[str, str] | None = None, failback_after: float = 60) -> Plan:
        def watched(name: str) -> WatchedBackend:
            return WatchedBackend(
                (name, (urls or {}).get(name)), lambda climb: self._probe(name, climb), "org/app:latest"
            )

        settings = evolve(SETTINGS, failback_after=failback_after)
        return Plan({name: watched(name) for name in names}, (names,), settings, handover=3600)

    def answer(self, name: str, result: Result) -> None:
        self.waiting.pop(name).callback(result)

    def _probe(self, name: str, climb: ProbeDepth) -> Deferred[Result]:
        self.asked.append(name)
        self.climbs.setdefault(name, []).append(climb)
        self.waiting[name] = Deferred(lambda _: self.cancelled.append(name))
        return self.waiting[name]


@define
class Watching:
    """A running watch, its backends, its clock, the changes it pushed, and the news of them.

    `step` is what the wall clock is ahead, `kept` how often there was something to keep that is no news.
    """

    clock: Clock
    backends: Scripted
    news: list[str]
    step: float = 0.0
    kept: int = 0
    changes: list[Change] = field(factory=list)
    watch: Watch = field(init=False)

    @classmethod
    def begin(cls, *names: str, kept: WatchState | None = None, failback_after: float = 60) -> "Watching":
        clock, backends, news = Clock(), Scripted(), list[str]()
        watching = cls(clock, backends, news)
        plan = backends.plan(*names, failback_after=failback_after)
        watching.watch = Watch(clock, lambda: clock.seconds() + watching.step, Random(1), plan, kept)
        watching.watch.subscribe(watching.hear)
        watching.watch.startService()
        return watching

    def hear(self, change: Change) -> None:
        self.changes.append(change)
        if change.news:
            self.news.append(change.news)
        else:
            self.kept += 1

    @property
    def active(self) -> str:
        return self.watch.snapshot().active.backend

    @property
    def routing(self) -> RoutingState:
        return self.watch.snapshot().routing

    def advance(self, seconds: float) -> None:
        """Let time pass in steps small enough that every wait ends in its own."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)


def up(*names: str, failback_after: float = 60, kept: WatchState | None = None) -> Watching:
    """A watch whose first round found every backend up."""
    watching = Watching.begin(*names, failback_after=failback_after, kept=kept)
    for name in names:
        watching.backends.answer(name, GOOD)
    return watching


def fail(watching: Watching, name: str) -> None:
    """Two probes in a row find the backend gone."""
    watching.advance(10)
    watching.backends.answer(name, BAD)
    watching.advance(1)
    watching.backends.answer(name, BAD)
