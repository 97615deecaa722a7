"""The roster: the state of all backends, and which are active; it pushes every change to its subscribers."""

from collections.abc import Callable, Mapping

from attrs import evolve
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.backends.sample_limit import SampleLimit
from facaded.policy import changes, renaming, transitions, watch_state
from facaded.policy.changes import Change
from facaded.policy.evidence import Attempt
from facaded.policy.failover import ActiveBackend, Place
from facaded.policy.health import Health, Result
from facaded.policy.overrides import Overrides
from facaded.policy.plan import Plan, successors
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState

Subscriber = Callable[[Change], None]


class Subscribers:
    """Functions that are called with every change. An error of one is logged, and does not affect the others."""

    _log = Logger()

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    def notify(self, change: Change) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:
                self._log.failure("internal error in a subscriber to health changes")


class Roster:
    """Holds the WatchState, and replaces it after a probe's result, an override, a new plan, or a timer.

    `previous_state` is the state of an earlier run. The timer runs between `start` and `stop`. `subscribers` are called
    with every change.
    """

    def __init__(self, clock: IReactorTime, plan: Plan, previous_state: WatchState | None) -> None:
        self.plan = plan
        self.watch_state = watch_state.begin(plan, previous_state, clock.seconds())
        self.settled = False
        self._clock = clock
        self._sample_limit = SampleLimit()
        self.subscribers = Subscribers()
        self._pushed_routing = self.snapshot().routing
        self._running = False
        self._timer: IDelayedCall | None = None

    def snapshot(self) -> Snapshot:
        """Return the current state."""
        return Snapshot(self.plan, self.watch_state, self._clock.seconds(), self.settled)

    def start(self) -> None:
        """Start the timer for changes that are due at a time."""
        self._running = True
        self.update()

    def stop(self) -> None:
        """Stop the timer."""
        self._running = False
        self._set_timer(None)

    def settle(self) -> None:
        """End the first round of probes: from now on, its results decide which backend is active."""
        if not self.settled:
            self.settled = True
            self.update()

    def observe(self, name: str, result: Result) -> None:
        """Apply a probe's result."""
        healths = self.watch_state.healths
        updated = transitions.observe(healths[name], result, self._clock.seconds(), self.plan.settings)
        self.update({**healths, name: updated})

    def observe_attempt(self, attempt: Attempt) -> None:
        """Apply what a served request found. Only a failure or a Retry-After can change more than the samples."""
        before = self.watch_state
        if attempt.backend not in before.healths:
            return
        now = self._clock.seconds()
        by_url = evolve(attempt, backend=self.plan.backends[attempt.backend].identity.url)  # the name may change
        counted = attempt if self._sample_limit.admits(by_url, now) else evolve(attempt, sample=False)
        updated = transitions.observe_attempt(before.healths[attempt.backend], counted, now, self.plan.settings)
        healths = {**before.healths, attempt.backend: updated}
        if attempt.good and not attempt.retry_after:
            self.watch_state = evolve(before, healths=healths)
        else:
            self.update(healths)

    def update(
        self,
        healths: Mapping[str, Health] | None = None,
        overrides: Overrides | None = None,
        active: Mapping[Place, ActiveBackend] | None = None,
    ) -> Change:
        """Apply new healths, the operator's overrides or failbacks, or only the time that has passed.

        Pushes the change if there is one, and returns it.
        """
        before = self.snapshot()
        state = before.watch_state
        overrides = state.overrides if overrides is None else overrides
        change = self._replace(before, healths or state.healths, overrides, active)
        if change.news or change.watch_state.canary_seen != state.canary_seen or change.routing != self._pushed_routing:
            self._push(change)
        return change

    def reconfigure(self, plan: Plan) -> None:
        """Replace the plan. This always pushes a change, because subscribers store the new state.

        State follows a backend's URL, so the state before gets the new names first; a rename by itself is not news.
        """
        names = successors(self.plan.identities, plan.identities)
        before = renaming.rename_snapshot(self.snapshot(), names)
        self.plan = plan
        healths = watch_state.carry_over(before.watch_state, before.plan, plan, before.at)
        remaining = before.watch_state.overrides.only(set(names.values()))
        self._push(self._replace(before, healths, remaining))

    def advance_overrides(self, seconds: float) -> None:
        """Count `seconds` that only the wall clock has counted towards the end of pins and drains."""
        before = self.snapshot()
        overrides = before.watch_state.overrides.advanced(seconds, before.at)
        self.watch_state = evolve(before.watch_state, overrides=overrides)
        self.update()

    def announce(self, news: str) -> None:
        """Push a log line without a change of state."""
        self._push(changes.announce(news, self.snapshot()))

    def _replace(
        self,
        before: Snapshot,
        healths: Mapping[str, Health],
        overrides: Overrides,
        active: Mapping[Place, ActiveBackend] | None = None,
    ) -> Change:
        """Replace the state, set the timer for the next change that is due, and return what has changed.

        `active` replaces the active backends first, of which a backend that works stays active.
        """
        now, settled = before.at, self.settled
        state = before.watch_state if active is None else evolve(before.watch_state, active=active)
        self.watch_state = watch_state.follow(state, self.plan, healths, overrides, now, settled=settled)
        after = evolve(before, plan=self.plan, watch_state=self.watch_state)
        self._set_timer(after.next_due)
        return changes.compare(before, after)

    def _push(self, change: Change) -> None:
        self._pushed_routing = change.routing
        self.subscribers.notify(change)

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if due is not None and self._running:
            self._timer = self._clock.callLater(max(due - self._clock.seconds(), 0), self.update)
