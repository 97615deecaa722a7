"""The roster: which backend is active, kept up to date, with every change pushed to subscribers."""

from collections.abc import Callable, Mapping

from attrs import evolve
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.policy import changes, health, watch_state
from facaded.policy.changes import Change
from facaded.policy.health import Health, Result
from facaded.policy.overrides import Overrides
from facaded.policy.plan import Plan
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState

Subscriber = Callable[[Change], None]


class Roster:
    """Holds the watch_state, and replaces it when a result, an override, a plan or the time changes something.

    `kept` is what an earlier run knew. Between `start` and `stop`, what time alone changes is noticed when it is due.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, plan: Plan, kept: WatchState | None) -> None:
        self.plan = plan
        self.watch_state = watch_state.begin(plan, kept, clock.seconds())
        self.settled = False
        self._clock = clock
        self._subscribers: list[Subscriber] = []
        self._situation = self.snapshot().routing
        self._running = False
        self._due: IDelayedCall | None = None

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with every change from now on."""
        self._subscribers.append(subscriber)

    def snapshot(self) -> Snapshot:
        """Return what is so now."""
        return Snapshot(self.plan, self.watch_state, self._clock.seconds())

    def start(self) -> None:
        """Start the timer for what time alone changes."""
        self._running = True
        self._follow()

    def stop(self) -> None:
        """Stop the timer."""
        self._running = False
        self._cancel()

    def settle(self) -> None:
        """Note that the first round of probes is over: from now on clients are led by what it found."""
        if not self.settled:
            self.settled = True
            self._follow()

    def observe(self, name: str, result: Result) -> None:
        """Take up a probe's result."""
        healths = self.watch_state.healths
        after = health.observe(healths[name], result, self._clock.seconds(), self.plan.settings)
        self._follow({**healths, name: after})

    def override(self, overrides: Overrides) -> None:
        """Take up what the operator says."""
        self._follow(overrides=overrides)

    def reconfigure(self, plan: Plan) -> None:
        """Go on by another plan. This is always pushed, because it is always worth keeping."""
        before = self.snapshot()
        self.plan = plan
        healths = watch_state.carry_over(before.watch_state, before.plan, plan, before.at)
        self._push(self._replace(before, healths, before.watch_state.overrides))

    def announce(self, news: str) -> None:
        """Push a line for a person, although nothing has changed."""
        self._push(changes.announce(news, self.snapshot()))

    def _follow(self, healths: Mapping[str, Health] | None = None, overrides: Overrides | None = None) -> None:
        """Go on from new healths or overrides, or from what time has brought, and push what has changed."""
        before = self.snapshot()
        known = before.watch_state
        change = self._replace(before, healths or known.healths, known.overrides if overrides is None else overrides)
        if change.news or change.watch_state.canary_seen != known.canary_seen or change.routing != self._situation:
            self._push(change)

    def _replace(self, before: Snapshot, healths: Mapping[str, Health], overrides: Overrides) -> Change:
        """Replace the watch_state, come back when something is due, and say what has changed."""
        now, settled = before.at, self.settled
        self.watch_state = watch_state.follow(before.watch_state, self.plan, healths, overrides, now, settled=settled)
        after = evolve(before, plan=self.plan, watch_state=self.watch_state)
        self._come_back(after.next_due)
        return changes.compare(before, after)

    def _push(self, change: Change) -> None:
        self._situation = change.routing
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                self._log.failure("a subscriber failed at a change of health")

    def _come_back(self, due: float | None) -> None:
        self._cancel()
        if due is not None and self._running:
            self._due = self._clock.callLater(max(due - self._clock.seconds(), 0), self._follow)

    def _cancel(self) -> None:
        if self._due is not None and self._due.active():
            self._due.cancel()
