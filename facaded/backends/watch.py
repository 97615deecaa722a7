"""The watch over the backends: probes them, and hands what they say to the roster, which knows which backend is active.

This is where the pure machines of `policy` meet time and the network. Nothing else changes a backend's state.
"""

from collections.abc import Callable, Collection
from random import Random

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from facaded.backends.prober import Prober
from facaded.backends.quotas import Quotas
from facaded.backends.roster import Roster, Subscriber
from facaded.policy import health
from facaded.policy.failover import spell
from facaded.policy.health import ProbeDepth, Result, State, Step, Verdict
from facaded.policy.overrides import Override
from facaded.policy.plan import Plan, WatchedBackend
from facaded.policy.snapshot import Snapshot
from facaded.policy.watch_state import WatchState

FIRST_ROUND = 3.0
"""Seconds that the first round of probes may take, and so the longest that a request waits for it.

Clients give a ping 15 s.
"""

CLOCK_CHECK = 1.0
"""Seconds between looks at the clocks: after a machine was suspended, all that is known is old."""

CLOCK_STEP = 30.0
"""Seconds by which wall and monotonic time drift apart before all backends are probed: more than any correction."""


class Watch(Service):
    """Probes backends for as long as it runs, and knows which backend is active.

    `clock` gives monotonic seconds, `wall` those since the epoch, `random` the jitter. `kept` is what an earlier run
    knew, by `health.restore`. `quotas` are the pulls that are left.
    """

    def __init__(
        self, clock: IReactorTime, wall: Callable[[], float], random: Random, plan: Plan, kept: WatchState | None
    ) -> None:
        self.quotas = Quotas(clock)
        self._roster = Roster(clock, plan, kept)
        self._first_round = FirstRound(clock, self._roster)
        self._probers = Probers(clock, random, self._roster, self._first_round, self.quotas)
        self._clocks = ClockCheck(clock, wall, self._jumped)

    def startService(self) -> None:
        Service.startService(self)
        self._roster.start()
        self._first_round.start()
        self._clocks.start()
        for name, watched in self._roster.plan.backends.items():
            self._probers.start(name, watched)

    def stopService(self) -> None:
        Service.stopService(self)
        self._clocks.stop()
        self._probers.keep(())
        self._roster.stop()
        self._first_round.end()

    def reconfigure(self, plan: Plan) -> None:
        """Go on by another plan.

        What is known of a backend is kept if it is the same one, as over a restart if it is probed in another way now;
        others are probed at once.
        """
        before = self._roster.plan
        alike = plan.unchanged_since(before)
        going_on = alike if before.settings == plan.settings else set()  # else all go by the new times at once
        self._probers.keep(going_on)
        self._first_round.reconfigure(plan, alike)
        self.quotas.keep(alike)
        self._roster.reconfigure(plan)
        for name, watched in plan.backends.items():
            if self.running and name not in going_on:
                self._probers.start(name, watched)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call `subscriber` with every change from now on.

        Pushed are changes of a backend's state, of the active backend, of an override or of drift, and everything else
        that changes the `RoutingState`, such as the end of a handover. Take a snapshot for what holds before the first.
        """
        self._roster.subscribe(subscriber)

    def snapshot(self) -> Snapshot:
        """Return what is known now, which backend is active, and why."""
        return self._roster.snapshot()

    @property
    def watch_state(self) -> WatchState:
        """What is known now."""
        return self._roster.watch_state

    @property
    def settled(self) -> bool:
        """Whether the first round of probes is over."""
        return self._roster.settled

    def when_settled(self) -> Deferred[None]:
        """Fires when the first round of probes is over; at once if it is. May be cancelled."""
        return self._first_round.when_over()

    def probe_soon(self, name: str) -> None:
        """Probe a backend soon, up to the blob, because a request or a pull has failed there; not too often."""
        self._probers.probe_soon(name)

    # The operator's word. All of these raise ContradictionError, and then nothing has changed.

    def pin(self, name: str, seconds: float | None) -> None:
        """Make a backend the active one, for so many seconds or until it is unpinned."""
        now = self.snapshot()
        override = Override.lasting(seconds, now.at)
        self._roster.override(now.watch_state.overrides.pin(name, override, now.plan.backends))

    def unpin(self) -> None:
        """Let health decide again."""
        self._roster.override(self.watch_state.overrides.unpin())

    def drain(self, name: str, seconds: float | None) -> None:
        """Take a backend out, for so many seconds or until it is undrained."""
        now = self.snapshot()
        override = Override.lasting(seconds, now.at)
        self._roster.override(now.watch_state.overrides.drain(name, override, now.plan.backends))

    def undrain(self, name: str) -> None:
        """Take a backend in again."""
        now = self.snapshot()
        self._roster.override(now.watch_state.overrides.undrain(name, now.plan.backends))

    def _jumped(self, seconds: float) -> None:
        way = "forward" if seconds > 0 else "back"
        self._roster.announce(f"the clock has gone {spell(abs(seconds))} {way}: every backend is probed")
        self._probers.probe_now()


class FirstRound:
    """The first probe of every backend, for which requests wait, but not longer than `FIRST_ROUND`."""

    def __init__(self, clock: IReactorTime, roster: Roster) -> None:
        self._clock = clock
        self._roster = roster
        self._unanswered = set(roster.plan.backends)
        self._waiting: list[Deferred[None]] = []
        self._timeout: IDelayedCall | None = None

    def start(self) -> None:
        """Start the timeout."""
        self._timeout = self._clock.callLater(FIRST_ROUND, self._time_out)

    def when_over(self) -> Deferred[None]:
        """Fires when every backend has answered or time is up; at once if it is. May be cancelled."""
        done: Deferred[None] = Deferred(self._waiting.remove)
        if self._roster.settled:
            done.callback(None)
        else:
            self._waiting.append(done)
        return done

    def answered(self, name: str) -> None:
        """Note that a backend has been probed."""
        self._unanswered.discard(name)
        if not self._unanswered:
            self.end()

    def reconfigure(self, plan: Plan, alike: Collection[str]) -> None:
        """Wait for the backends of another plan: those in `alike` may have answered already."""
        self._unanswered = {name for name in plan.backends if name in self._unanswered or name not in alike}

    def end(self) -> None:
        """Answer requests from now on."""
        self._roster.settle()
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _time_out(self) -> None:
        """A backend that has not answered by now is down if another is up: requests must not wait for it any longer."""
        if any(each.state in (State.UP, State.LIMITED) for each in self._roster.watch_state.healths.values()):
            late = Result(Verdict.BAD, Step.PING, f"no answer within {FIRST_ROUND:g} s", FIRST_ROUND)
            for name in sorted(self._unanswered):
                self._roster.observe(name, late)
        self.end()


class Probers:
    """A prober for each backend; what they find goes to the roster."""

    def __init__(
        self, clock: IReactorTime, random: Random, roster: Roster, first_round: FirstRound, quotas: Quotas
    ) -> None:
        self._clock = clock
        self._random = random
        self._roster = roster
        self._first_round = first_round
        self._quotas = quotas
        self._probers: dict[str, Prober] = {}
        self._deepened: set[str] = set()

    def start(self, name: str, watched: WatchedBackend) -> None:
        """Probe a backend now, and again and again."""
        self._probers[name] = prober = Prober(
            self._clock, lambda: watched.probe(self._climb(name)), lambda result: self._heard(name, result)
        )
        prober.start()

    def keep(self, names: Collection[str]) -> None:
        """Stop all probers but these."""
        for name in self._probers.keys() - set(names):
            self._probers.pop(name).stop()

    def probe_soon(self, name: str) -> None:
        """Bring a backend's next probe forward, unless that was done too often, and climb to the blob then.

        One that is down already has said when to ask again, or is asked often enough.
        """
        if name not in self._probers or self._roster.watch_state.healths[name].state is State.DOWN:
            return
        if self._probers[name].hasten():
            self._deepened.add(name)

    def probe_now(self) -> None:
        """Probe all backends at once."""
        for prober in self._probers.values():
            prober.probe_now()

    def _climb(self, name: str) -> ProbeDepth:
        how = health.probe_depth(
            self._roster.watch_state.healths[name], self._clock.seconds(), self._roster.plan.settings
        )
        if name in self._deepened:
            self._deepened.remove(name)
            return evolve(how, deep=True)
        return how

    def _heard(self, name: str, result: Result) -> float:
        """Take up a result; returns the seconds to wait before the next probe."""
        if result.quota is not None:
            self._quotas.note(name, "address", result.quota)
        self._roster.observe(name, result)
        self._first_round.answered(name)
        return health.probe_delay(
            self._roster.watch_state.healths[name], self._roster.plan.settings, self._random.random()
        )


class ClockCheck:
    """Compares the two clocks again and again.

    When the wall clock has jumped against the monotonic one, `jumped` is called with the seconds of it.
    """

    def __init__(self, clock: IReactorTime, wall: Callable[[], float], jumped: Callable[[float], None]) -> None:
        self._clock = clock
        self._wall = wall
        self._jumped = jumped
        self._apart = self._difference()
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """Look every `CLOCK_CHECK` seconds."""
        self._next = self._clock.callLater(CLOCK_CHECK, self._look)

    def stop(self) -> None:
        """Stop the timer."""
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _look(self) -> None:
        self.start()
        apart = self._difference()
        if abs(apart - self._apart) >= CLOCK_STEP:
            jump, self._apart = apart - self._apart, apart
            self._jumped(jump)

    def _difference(self) -> float:
        return self._wall() - self._clock.seconds()
