"""Checks on demand: before a redirect, its target must have proven within `health.trust` that it works.

A check is shared by all requests that need it. Most find fresh proofs, because those that find ageing ones start the
next check without waiting for it.
"""

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import partial
from typing import Protocol

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.policy.health import ProbeDepth, Result, State, Verdict
from facaded.policy.plan import Plan, WatchedBackend
from facaded.policy.probe_schedule import probe_depth
from facaded.policy.proofs import CHECK_PAUSE, LONGEST_WAIT, Need, Validity
from facaded.policy.watch_state import WatchState

_log = Logger()


class CheckedRoster(Protocol):
    """The backends that are checked, and their state."""

    @property
    def plan(self) -> Plan:
        """The backends and the settings."""

    @property
    def watch_state(self) -> WatchState:
        """The health of each backend."""


class Proven(Enum):
    """Whether a redirect may rely on a backend. UNDECIDED: a check will tell soon."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


@define
class CheckedBackend:
    """The checks of one backend: when the last one started, the one in progress, and the requests that wait for it.

    A waiter without a need waits for the end of the check.
    """

    watched: WatchedBackend
    started_at: float | None = None
    in_progress: Deferred[None] | None = None
    waiters: dict[Deferred[None], Need | None] = field(factory=dict)
    timeout: IDelayedCall | None = None


class Checks:
    """Checks the backends of `roster` on demand. `take_result` is called with each result and a backend's name."""

    def __init__(self, clock: IReactorTime, roster: CheckedRoster, take_result: Callable[[str, Result], None]) -> None:
        self._clock = clock
        self._roster = roster
        self._take_result = take_result
        self._backends: dict[str, CheckedBackend] = {}

    def replace(self, backends: Mapping[str, WatchedBackend], unchanged: Collection[str] = ()) -> None:
        """Check these backends from now on; only the checks of `unchanged` ones go on.

        Requests that wait for another check go on at once, and are judged by what is known of the new backends.
        """
        before = self._backends
        same = {name: before[name] for name in backends if name in unchanged and name in before}
        self._backends = {name: same.get(name) or CheckedBackend(watched) for name, watched in backends.items()}
        for name in before.keys() - same.keys():
            self._stop(before[name])

    def judge(self, name: str, need: Need) -> Proven:
        """Return whether a redirect to a backend may rely on its proofs, and start a check if they are not fresh."""
        backend, trust, now = self._backends.get(name), self._roster.plan.trust, self._clock.seconds()
        if not trust or backend is None or backend.watched.check is None:
            return Proven.YES
        validity = backend.watched.proofs.validity(need, now, trust)
        if validity is Validity.FRESH:
            return Proven.YES
        self._begin(name, backend, now)
        if validity is Validity.STALE:
            return self._judge_stale(backend, need, now)
        return Proven.YES if validity is Validity.AGEING else Proven.NO

    def renew(self, name: str) -> bool:
        """Start a check of a backend if it may be asked. Return False if this one is not checked on demand."""
        backend, now = self._backends.get(name), self._clock.seconds()
        if not self._roster.plan.trust or backend is None or backend.watched.check is None:
            return False
        health = self._roster.watch_state.healths[name]
        if health.state is not State.DOWN and not health.is_resting(now):
            self._begin(name, backend, now)
        return True

    def demand(self, name: str) -> Deferred[None]:
        """Start a check of a backend if it may be asked, and return a Deferred that fires when none is in progress."""
        if (backend := self._backends.get(name)) is None or backend.watched.check is None:
            return succeed(None)
        self._begin(name, backend, self._clock.seconds())
        if backend.in_progress is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(partial(_remove, backend))
        backend.waiters[waiter] = None
        return waiter

    def when_decided(self, name: str, need: Need) -> Deferred[None]:
        """Return a Deferred that fires when `judge` would no longer return UNDECIDED. It may be cancelled."""
        backend = self._backends.get(name)
        if backend is None or backend.in_progress is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred(partial(_remove, backend))
        backend.waiters[waiter] = need
        return waiter

    def _judge_stale(self, backend: CheckedBackend, need: Need, now: float) -> Proven:
        """Judge proofs that are too old: those of the last check count while the next one may not start."""
        started = backend.started_at
        assert started is not None
        if backend.in_progress is None:
            return Proven.YES if backend.watched.proofs.proven_since(need, started) else Proven.NO
        return Proven.UNDECIDED if now < started + LONGEST_WAIT else Proven.NO

    def _begin(self, name: str, backend: CheckedBackend, now: float) -> None:
        """Start a check, unless one is in progress or began a moment ago."""
        started = backend.started_at
        if backend.in_progress is not None or (started is not None and now < started + CHECK_PAUSE):
            return
        backend.started_at = now
        backend.timeout = self._clock.callLater(LONGEST_WAIT, self._release, backend)
        backend.in_progress = work = Deferred.fromCoroutine(self._check(name, backend))
        if work.called:
            backend.in_progress = None
        work.addErrback(lambda failure: failure.trap(CancelledError))
        work.addErrback(lambda failure: _log.failure("internal error in a check", failure))

    async def _check(self, name: str, backend: CheckedBackend) -> None:
        check = backend.watched.check
        assert check is not None
        try:
            result = await check(self._choose_depth(name), lambda: self._release_decided(backend))
        finally:
            backend.in_progress = None
            self._release(backend)
        if self._backends.get(name) is backend and self._counts(name, result):
            self._take_result(name, result)

    def _choose_depth(self, name: str) -> ProbeDepth:
        health = self._roster.watch_state.healths[name]
        return evolve(probe_depth(health, self._clock.seconds(), self._roster.plan.settings), deep=False, body=False)

    def _counts(self, name: str, result: Result) -> bool:
        """Return whether a result says something of the backend's state: a good one has passed the step that failed."""
        health = self._roster.watch_state.healths[name]
        if health.state is State.DOWN or result.verdict is Verdict.LOCAL:
            return False
        failed = health.deepest_failed_step
        return result.verdict is not Verdict.GOOD or failed is None or failed in result.passed

    def _stop(self, backend: CheckedBackend) -> None:
        """Cancel the check in progress, and let go the requests that wait."""
        if backend.in_progress is not None:
            backend.in_progress.cancel()
        self._release(backend)

    def _release_decided(self, backend: CheckedBackend) -> None:
        """Let go the requests whose need has been proven by the check in progress, or has failed."""
        proofs, started = backend.watched.proofs, backend.started_at
        assert started is not None
        now, trust = self._clock.seconds(), self._roster.plan.trust

        def is_decided(need: Need) -> bool:
            return proofs.proven_since(need, started) or proofs.validity(need, now, trust) is Validity.FAILED

        decided = {need for need in Need if is_decided(need)}
        _let_go(backend, [waiter for waiter, need in backend.waiters.items() if need in decided])

    def _release(self, backend: CheckedBackend) -> None:
        """Let go all requests that wait: the check has ended, or has taken too long."""
        if backend.timeout is not None and backend.timeout.active():
            backend.timeout.cancel()
        _let_go(backend, list(backend.waiters))


def _remove(backend: CheckedBackend, cancelled: Deferred[None]) -> None:
    backend.waiters.pop(cancelled, None)  # one that is let go is no longer there


def _let_go(backend: CheckedBackend, waiters: list[Deferred[None]]) -> None:
    """Let go requests that wait, but those that an earlier one of them has cancelled."""
    for waiter in waiters:
        if waiter in backend.waiters:
            del backend.waiters[waiter]
            waiter.callback(None)
