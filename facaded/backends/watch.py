"""The watch: probes the backends and passes the results to the roster, which decides which backend is active.

This service connects the state machines of `policy` to the clock and the network. Nothing else changes a backend's
state.
"""

from collections.abc import Callable, Collection, Iterable
from random import Random

from attrs import evolve, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.backends.demand_checks import Checks
from facaded.backends.failbacks import Failbacks
from facaded.backends.measurements import Measurements
from facaded.backends.prober import Prober
from facaded.backends.quotas import Quotas
from facaded.backends.reached_limits import ReachedLimits
from facaded.backends.refused_accounts import RefusedAccounts
from facaded.backends.roster import Roster, Subscriber
from facaded.policy.evidence import Attempt
from facaded.policy.health import ProbeDepth, Result, State, Step, Verdict
from facaded.policy.overrides import Override
from facaded.policy.plan import Plan, WatchedBackend, successors
from facaded.policy.probe_schedule import is_same_failure, probe_delay, probe_depth
from facaded.policy.reasons import spell
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState

FIRST_ROUND = 3.0
"""Timeout in seconds of the first round of probes, for which requests wait. Clients give up a ping after 15 s."""

CLOCK_CHECK = 1.0
"""Seconds between comparisons of the clocks. After the machine was suspended, the results of all probes are old."""

CLOCK_STEP = 30.0
"""Seconds of difference between wall and monotonic time after which all backends are probed: more than NTP corrects."""


class Watch(Service):
    """Probes the backends while it runs, and reports their states and the active backend.

    `clock` has monotonic time, `wall` returns seconds since the epoch, `random` gives the jitter. `previous_state` is
    the state of an earlier run; see `health.remembered`. `quotas` are the pulls that are left,
    `refused_accounts` what is wrong with facaded's own accounts, `reached_limits` how often limits were reached, and
    `measurements` what was measured of requests and probes. `checks` say whether a redirect to a backend would work.
    `failbacks` are those that wait, and `probers` know when each backend is probed next.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        random: Random,
        plan: Plan,
        previous_state: WatchState | None,
    ) -> None:
        self.quotas = Quotas(clock)
        self.refused_accounts = RefusedAccounts(clock)
        self.reached_limits = ReachedLimits(clock)
        self.measurements = Measurements(clock)
        self._roster = Roster(clock, plan, previous_state)
        self.failbacks = Failbacks(self._roster)
        self._first_round = FirstRound(clock, self._roster)
        notes = ResultNotes(self.quotas, self.reached_limits, self.measurements)
        self.probers = Probers(clock, random, self._roster, self._first_round, notes)
        self.checks = Checks(clock, self._roster, self.probers.take_result)
        self._clock_check = ClockCheck(clock, wall, self.probers.handle_jump)

    def startService(self) -> None:
        Service.startService(self)
        self._roster.start()
        self._first_round.start()
        self._clock_check.start()
        for name, watched in self._roster.plan.backends.items():
            self.probers.start(name, watched)
        self.checks.replace(self._roster.plan.backends)

    def stopService(self) -> None:
        Service.stopService(self)
        self._clock_check.stop()
        self.checks.replace({})
        self.probers.stop_except(())
        self._roster.stop()
        self._first_round.end()
        self.reached_limits.stop()

    def reconfigure(self, plan: Plan) -> None:
        """Replace the plan.

        A backend with the same URL in both plans keeps its state under its new name. One that is now probed in another
        way keeps what it would keep over a restart. These, renamed and new backends are probed at once.
        """
        previous = self._roster.plan
        alike = plan.unchanged_since(previous)
        plan = evolve(plan, backends={**plan.backends, **{name: previous.backends[name] for name in alike}})  # proofs
        unchanged = alike if previous.settings == plan.settings else set()  # new intervals apply to all at once
        self.probers.stop_except(unchanged)
        self._first_round.reconfigure(plan, alike)
        names = successors(previous.identities, plan.identities)
        self.quotas.rename({old: new for old, new in names.items() if previous.backends[old] == plan.backends[new]})
        self.refused_accounts.retain(alike)
        self.measurements.retain(plan.backends)
        self._roster.reconfigure(plan)
        for name, watched in plan.backends.items():
            if self.running and name not in unchanged:
                self.probers.start(name, watched)
        self.checks.replace(plan.backends if self.running else {}, alike)  # last: requests that wait are answered

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with every change from now on.

        A change is a new state of a backend, another active backend, an override, drift, or anything else that changes
        the `RoutingState`, such as the end of a handover. `snapshot` returns the state before the first change.
        """
        self._roster.subscribers.add(subscriber)

    def snapshot(self) -> Snapshot:
        """Return the current state of the backends, which is active, and why."""
        return self._roster.snapshot()

    @property
    def watch_state(self) -> WatchState:
        """The current state, as it is stored."""
        return self._roster.watch_state

    @property
    def settled(self) -> bool:
        """Whether the first round of probes is over."""
        return self._roster.settled

    def when_settled(self) -> Deferred[None]:
        """Return a Deferred that fires when the first round of probes is over. It may be cancelled."""
        return self._first_round.when_over()

    def probe_soon(self, name: str) -> None:
        """Check a backend, or make its next probe early and deep, because a pull may have failed there.

        Both are rate-limited.
        """
        if not self.checks.renew(name):
            self.probers.probe_soon(name)

    def report(self, attempt: Attempt, url: str | None = None) -> None:
        """Take what a served request found at a backend as evidence, and probe the backend early if it failed.

        If the backend of this name now has another URL than `url`, the request began before a reload and is ignored.
        """
        watched = self._roster.plan.backends.get(attempt.backend)
        if watched is None or url not in (None, watched.identity.url):
            return
        self._roster.observe_attempt(attempt)
        if attempt.retry_after:
            self.probers.postpone(attempt.backend)
        elif not attempt.good:
            self.probers.probe_soon(attempt.backend, with_body=attempt.step is Step.BODY)

    # The operator's commands. They change nothing if they raise ContradictionError.

    def pin(self, name: str, seconds: float | None, reason: str = "") -> None:
        """Make a backend the active one, for `seconds` or until it is unpinned."""
        self._clock_check.compare()  # a suspend that has just ended is no part of these seconds
        current = self.snapshot()
        override = Override.lasting(seconds, current.at, reason)
        self._roster.update(overrides=current.watch_state.overrides.pin(name, override, current.plan.backends))

    def unpin(self) -> None:
        """Remove the pin, so that health decides again which backend is active."""
        self._roster.update(overrides=self.watch_state.overrides.unpin())

    def drain(self, name: str, seconds: float | None, reason: str = "") -> None:
        """Drain a backend, for `seconds` or until it is undrained."""
        self._clock_check.compare()
        current = self.snapshot()
        override = Override.lasting(seconds, current.at, reason)
        self._roster.update(overrides=current.watch_state.overrides.drain(name, override, current.plan.backends))

    def undrain(self, name: str) -> None:
        """Remove a backend's drain."""
        current = self.snapshot()
        self._roster.update(overrides=current.watch_state.overrides.undrain(name, current.plan.backends))


class FirstRound:
    """The first probe of every backend. Requests wait for it, for at most `FIRST_ROUND` seconds."""

    def __init__(self, clock: IReactorTime, roster: Roster) -> None:
        self._clock = clock
        self._roster = roster
        self._pending = set(roster.plan.backends)
        self._waiters: list[Deferred[None]] = []
        self._timeout: IDelayedCall | None = None

    def start(self) -> None:
        """Start the timeout."""
        self._timeout = self._clock.callLater(FIRST_ROUND, self._time_out)

    def when_over(self) -> Deferred[None]:
        """Return a Deferred that fires when the round is over; at once if it is. It may be cancelled."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        if self._roster.settled:
            waiter.callback(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def complete(self, name: str) -> None:
        """Note that a backend has been probed."""
        self._pending.discard(name)
        if not self._pending:
            self.end()

    def reconfigure(self, plan: Plan, alike: Collection[str]) -> None:
        """Wait for the backends of a new plan; those in `alike` may have been probed already."""
        self._pending = {name for name in plan.backends if name in self._pending or name not in alike}

    def end(self) -> None:
        """End the round, so that requests are answered from now on."""
        self._roster.settle()
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _time_out(self) -> None:
        """Mark the backends that have not answered as down if another one is up, and end the round.

        One that has answered is only slow: its probe may still end well.
        """
        backends = self._roster.plan.backends
        if any(backend.state in (State.UP, State.LIMITED) for backend in self._roster.watch_state.healths.values()):
            late = Result(Verdict.BAD, Step.PING, f"no response within {FIRST_ROUND:g} s", FIRST_ROUND)
            for name in sorted(self._pending):
                if not backends[name].proofs.has_answered:
                    self._roster.observe(name, late)
        self.end()


@frozen
class ResultNotes:
    """Notes what a result says besides the backend's state: the pulls left, an error of this machine, and durations."""

    quotas: Quotas
    reached_limits: ReachedLimits
    measurements: Measurements

    def note(self, name: str, result: Result) -> None:
        """Note the result of a probe or a check of a backend."""
        self.measurements.note_probe(name, result.durations)
        if result.quota is not None:
            self.quotas.note(name, "address", result.quota)
        if result.verdict is Verdict.LOCAL:
            self.reached_limits.note_local_error(name, result.reason)


class Probers:
    """A prober for each backend; their results go to the roster."""

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        roster: Roster,
        first_round: FirstRound,
        notes: ResultNotes,
    ) -> None:
        self._clock = clock
        self._random = random
        self._roster = roster
        self._first_round = first_round
        self._notes = notes
        self._probers: dict[str, Prober] = {}
        self._deep_next: set[str] = set()
        self._body_next: set[str] = set()

    def start(self, name: str, watched: WatchedBackend) -> None:
        """Start to probe a backend: now, or when its Retry-After ends. The first round does not wait for that."""
        rest = self._rest(name)
        self._probers[name] = prober = Prober(
            self._clock,
            lambda: watched.probe(self._choose_depth(name)),
            lambda result: self._handle(name, result),
            rest,
        )
        prober.start()
        if rest:
            self._first_round.complete(name)

    def next_at(self, name: str) -> float | None:
        """Return when the next probe of a backend starts; None while one is in progress, or if there is none."""
        return self._probers[name].next_at if name in self._probers else None

    def stop_except(self, names: Collection[str]) -> None:
        """Stop all probers except these."""
        for name in self._probers.keys() - set(names):
            self._probers.pop(name).stop()

    def probe_soon(self, name: str, with_body: bool = False) -> None:
        """Make the next probe of a backend early, up to the blob, unless there were too many early probes.

        A backend that is down is left alone, because it is probed often enough, and one whose Retry-After has not
        ended. `with_body` also fetches the canary's manifest.
        """
        if name not in self._probers or self._roster.watch_state.healths[name].state is State.DOWN or self._rest(name):
            return
        if self._probers[name].probe_early():
            self._deep_next.add(name)
            self._body_next.update([name] if with_body else [])

    def postpone(self, name: str) -> None:
        """Probe a backend no earlier than its Retry-After allows."""
        if name in self._probers:
            self._probers[name].postpone(self._rest(name))

    def handle_jump(self, seconds: float) -> None:
        """Probe all backends at once after the wall clock has jumped, but not those whose Retry-After has not ended."""
        if seconds > 0:  # a pin or a drain lasts for wall time; a jump back does not lengthen it
            self._roster.advance_overrides(seconds)
        direction = "forward" if seconds > 0 else "back"
        self._roster.announce(f"the clock jumped {direction} by {spell(abs(seconds))}: probing all backends")
        self._probe_now(self._probers)

    def _probe_now(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._probers and not self._rest(name):
                self._probers[name].probe_now()

    def _rest(self, name: str) -> float:
        """Return the seconds until the Retry-After of a backend ends, 0 without one."""
        retry_at, now = self._roster.watch_state.healths[name].retry_at, self._clock.seconds()
        return max((retry_at or now) - now, 0.0)

    def _choose_depth(self, name: str) -> ProbeDepth:
        health, plan = self._roster.watch_state.healths[name], self._roster.plan
        depth = probe_depth(health, self._clock.seconds(), plan.settings)
        depth = evolve(depth, deep=depth.deep or name in self._deep_next, body=depth.body or name in self._body_next)
        self._deep_next.discard(name)
        self._body_next.discard(name)
        return depth

    def take_result(self, name: str, result: Result) -> None:
        """Apply the result of a check. After a bad one, the next probe is early, as it is after a bad probe."""
        delay = self._handle(name, result)
        if result.verdict is Verdict.BAD and name in self._probers:
            self._probers[name].probe_within(delay)

    def _handle(self, name: str, result: Result) -> float:
        """Apply a result, and return the seconds until the next probe."""
        self._notes.note(name, result)
        before, settings = self._roster.watch_state.healths[name], self._roster.plan.settings
        if not is_same_failure(before, result, self._clock.seconds(), settings):
            self._roster.observe(name, result)
        self._first_round.complete(name)
        health = self._roster.watch_state.healths[name]
        if (health.is_failing, health.is_recovering) != (before.is_failing, before.is_recovering):
            self._probe_now(self._roster.watch_state.rivals(name))
        now = self._clock.seconds()
        delay = probe_delay(health, settings, self._random.random(), now)
        return min(delay, settings.fast_interval) if self._roster.watch_state.is_awaited(name, now) else delay


class ClockCheck:
    """Compares the wall clock with the monotonic clock periodically.

    `handle_jump` is called with the seconds by which the wall clock has jumped.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float], handle_jump: Callable[[float], None]) -> None:
        self._clock = clock
        self._wall = wall
        self._handle_jump = handle_jump
        self._difference = self._measure()
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Compare the clocks every `CLOCK_CHECK` seconds."""
        self._timer = self._clock.callLater(CLOCK_CHECK, self._tick)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def compare(self) -> None:
        """Compare the clocks now."""
        difference = self._measure()
        if abs(difference - self._difference) >= CLOCK_STEP:
            jump, self._difference = difference - self._difference, difference
            self._handle_jump(jump)

    def _tick(self) -> None:
        self.start()
        self.compare()

    def _measure(self) -> float:
        return self._wall() - self._clock.seconds()
