"""A watch for tests, over backends whose probes the test answers."""

from collections.abc import Mapping
from random import Random

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.decision import RoutingState
from facaded.policy.health import ProbeDepth, Result, Settings, Step, Verdict
from facaded.policy.plan import Identity, Plan, WatchedBackend
from facaded.policy.proofs import Proofs
from facaded.policy.watch_state import WatchState

GOOD = Result(Verdict.GOOD, Step.TOKEN, "token granted", 0.1)
BAD = Result(Verdict.BAD, Step.PING, "connection refused", 0.1)
SETTINGS = Settings(interval=10, fast_interval=1, timeout=3, fall=2, rise=2)


@define
class ScriptedBackends:
    """Backends that answer a probe when the test calls `answer`.

    `waiting` are the probes in progress, `probed` the names of the backends probed so far, `depths` how far those
    probes were to go. With a `trust` in seconds, backends are checked on demand: `checking` are the checks in progress,
    and `proofs` what each backend has proven.
    """

    waiting: dict[str, Deferred[Result]] = field(factory=dict)
    cancelled: list[str] = field(factory=list)
    probed: list[str] = field(factory=list)
    depths: dict[str, list[ProbeDepth]] = field(factory=dict)
    trust: float = 0.0
    checking: dict[str, Deferred[Result]] = field(factory=dict)
    proofs: dict[str, Proofs] = field(factory=dict)

    def plan(self, *names: str, urls: Mapping[str, str] | None = None, failback_after: float = 60) -> Plan:
        """Return a plan with these backends on one route. `urls` are those of backends whose URL is not their name."""

        def url(name: str) -> str:
            return (urls or {}).get(name, name)

        def watched(name: str) -> WatchedBackend:
            identity = Identity(url(name), "org/app:latest")
            self.proofs[name] = Proofs()
            return WatchedBackend(
                identity,
                lambda depth: self._probe(name, depth),
                "org/app:latest",
                check=lambda depth, changed: self._check(name),
                proofs=self.proofs[name],
            )

        def ping_target(redirecting: tuple[str, ...]) -> str:
            return " ".join(map(url, redirecting))

        settings = evolve(SETTINGS, failback_after=failback_after)
        return Plan({name: watched(name) for name in names}, (names,), settings, 3600, ping_target, self.trust)

    def answer(self, name: str, result: Result) -> None:
        self.waiting.pop(name).callback(result)

    def end_check(self, name: str, now: float, failed: Step | None = None) -> None:
        """End a check: all steps have passed, but for one."""
        self.proofs[name].note_pass(now, *(step for step in Step if step is not failed))
        if failed is not None:
            self.proofs[name].note_failure(failed)
        good = evolve(GOOD, step=Step.CDN, passed=tuple(Step))
        self.checking.pop(name).callback(good if failed is None else evolve(BAD, step=failed))

    def _check(self, name: str) -> Deferred[Result]:
        self.checking[name] = Deferred(lambda _: self.cancelled.append(name))
        return self.checking[name]

    def _probe(self, name: str, depth: ProbeDepth) -> Deferred[Result]:
        self.probed.append(name)
        self.depths.setdefault(name, []).append(depth)
        self.waiting[name] = Deferred(lambda _: self.cancelled.append(name))
        return self.waiting[name]


@define
class Watching:
    """A running watch with its backends and its clock, and the changes that it pushed.

    `news` is the news of these changes, and `silent` counts those without news. `step` is how many seconds the wall
    clock is ahead of the monotonic one.
    """

    clock: Clock
    backends: ScriptedBackends
    news: list[str]
    step: float = 0.0
    silent: int = 0
    changes: list[Change] = field(factory=list)
    watch: Watch = field(init=False)

    @classmethod
    def begin(
        cls, *names: str, saved: WatchState | None = None, failback_after: float = 60, trust: float = 0.0
    ) -> "Watching":
        clock, backends, news = Clock(), ScriptedBackends(trust=trust), list[str]()
        watching = cls(clock, backends, news)
        plan = backends.plan(*names, failback_after=failback_after)
        watching.watch = Watch(clock, lambda: clock.seconds() + watching.step, Random(1), plan, saved)
        watching.watch.subscribe(watching.record)
        watching.watch.startService()
        return watching

    def record(self, change: Change) -> None:
        self.changes.append(change)
        if change.news:
            self.news.append(change.news)
        else:
            self.silent += 1

    @property
    def active(self) -> str:
        return self.watch.snapshot().active.backend

    @property
    def routing(self) -> RoutingState:
        return self.watch.snapshot().routing

    def advance(self, seconds: float) -> None:
        """Let time pass in steps so small that no two timers end in the same one."""
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)


def up(*names: str, failback_after: float = 60, saved: WatchState | None = None) -> Watching:
    """Return a watch whose first round found every backend up."""
    watching = Watching.begin(*names, failback_after=failback_after, saved=saved)
    for name in names:
        watching.backends.answer(name, GOOD)
    return watching


def fail(watching: Watching, name: str) -> None:
    """Make two probes in a row of the backend fail."""
    watching.advance(10)
    watching.backends.answer(name, BAD)
    watching.advance(1)
    watching.backends.answer(name, BAD)
