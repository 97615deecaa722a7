"""The state of the backends as a worker hears of it: the first process probes them, and decides which are active."""

import operator
from collections.abc import Callable
from functools import partial

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from facaded.backends.backend_watch import Viewed
from facaded.backends.demand_checks import Checks
from facaded.backends.quotas import Quotas
from facaded.policy.decision import RoutingState
from facaded.policy.evidence import Attempt
from facaded.policy.health import ProbeDepth, Result, State, Step, Verdict
from facaded.policy.plan import Plan, WatchedBackend, successors
from facaded.policy.proofs import Proofs, ProofState
from facaded.policy.watch_state import WatchState
from facaded.workers.codec import BackendState, SentView, from_message, to_message
from facaded.workers.counted_work import CountedWork
from facaded.workers.process_channel import Message

Send = Callable[[str, Message], bool]
"""Sends a message of a kind to the first process; returns whether that can be reached."""

CHECKED = Result(Verdict.GOOD, Step.PING, "checked by the first process", 0.0)
"""What a worker gets of a check, whose outcome the first process has taken."""


class FollowedRoster:
    """What the checks need of a roster: the plan, and the health of each backend as far as it is known here."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.watch_state = WatchState({}, {})


class RemoteChecks:
    """Lets the first process check the backends for this one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._pending: dict[str, list[Deferred[Result]]] = {}
        self._changed: dict[str, Callable[[], None]] = {}

    def check(self, name: str, _: ProbeDepth, changed: Callable[[], None]) -> Deferred[Result]:
        """Check a backend. `changed` is called after each new proof. Without the first process it ends at once."""
        if not self._send("check", {"backend": name}):
            return succeed(CHECKED)
        self._changed[name] = changed
        checking: Deferred[Result] = Deferred(partial(self._forget, name))
        self._pending.setdefault(name, []).append(checking)
        return checking

    def note_proof(self, name: str) -> None:
        """Tell a check in progress that there are new proofs of a backend."""
        if self._pending.get(name):
            self._changed[name]()

    def end(self, name: str) -> None:
        """End the checks of a backend: the first process has ended its own."""
        for checking in self._pending.pop(name, []):
            checking.callback(CHECKED)

    def end_all(self) -> None:
        """End all checks: the first process is gone."""
        for name in list(self._pending):
            self.end(name)

    def _forget(self, name: str, cancelled: Deferred[Result]) -> None:
        self._pending.get(name, []).remove(cancelled)


class FollowedWatch:
    """A worker's BackendWatch. What it is told about the backends of `plan` stays in force until it hears more.

    `send` reaches the first process; without that, what requests show is lost, but for what is `counted`. Until it has
    said that its first round of probes is over, requests wait.
    """

    def __init__(self, clock: IReactorTime, plan: Plan, send: Send, counted: CountedWork) -> None:
        self.quotas = Quotas(clock)
        self.refused_accounts = counted.accounts
        self.reached_limits = counted.limits
        self.measurements = counted.measurements
        self.is_settled = False
        self._send = send
        self._remote = RemoteChecks(send)
        self._roster = FollowedRoster(plan)
        self.checks = Checks(clock, self._roster, lambda name, result: None)
        self._sent = _unknown_view(plan, clock.seconds())
        self._subscribers: list[Callable[[Viewed], None]] = []
        self._waiters: list[Deferred[None]] = []
        self.reconfigure(plan)

    def reconfigure(self, plan: Plan) -> None:
        """Follow the backends of a new plan, of which the first process will say more."""
        names = successors(self._roster.plan.identities, plan.identities)
        self.quotas.rename(names)
        self.measurements.retain(plan.backends)
        backends = {name: self._follow_backend(name, watched) for name, watched in plan.backends.items()}
        self._roster.plan = evolve(plan, backends=backends)
        self.checks.replace(backends)

    def snapshot(self) -> SentView:
        """Return the current state."""
        return self._sent

    def subscribe(self, subscriber: Callable[[Viewed], None]) -> None:
        """Call `subscriber` with every change from now on."""
        self._subscribers.append(subscriber)

    def when_settled(self) -> Deferred[None]:
        """Return a Deferred that fires when the first process has ended its first round of probes."""
        waiter: Deferred[None] = Deferred(self._waiters.remove)
        if self.is_settled:
            waiter.callback(None)
        else:
            self._waiters.append(waiter)
        return waiter

    def probe_soon(self, name: str) -> None:
        """Let the first process check a backend soon."""
        self._send("hint", {"backend": name})

    def report(self, attempt: Attempt, url: str | None = None) -> None:
        """Let the first process take an attempt as evidence."""
        self._send("attempt", {"attempt": to_message(attempt), "url": url})

    # What the first process says. All of it raises MalformedError.

    def take_view(self, message: Message) -> None:
        """Take over the state of the backends. A first process that has just started knows less than this one."""
        sent = from_message(message.get("view"), SentView)
        if self.is_settled and not sent.settled and self._fits(self._sent):
            return
        self._sent = sent
        self._roster.watch_state = WatchState(sent.view.healths, {})
        for subscriber in self._subscribers:
            subscriber(sent)
        if sent.settled and not self.is_settled:
            self.is_settled = True
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def _fits(self, sent: SentView) -> bool:
        """Return whether a view is of the backends and routes that there are now."""
        plan, routing = self._roster.plan, sent.routing
        if sent.backends.keys() != plan.backends.keys():
            return False
        return all(
            len(active) == len(plan.routes) and all(map(operator.contains, plan.routes, active))
            for active in (routing.redirecting, routing.serving)
        )

    def take_proofs(self, message: Message) -> None:
        """Take over the proofs of a backend."""
        name, state = str(message.get("backend")), from_message(message.get("proofs"), ProofState)
        watched = self._roster.plan.backends.get(name)
        if watched is not None:
            watched.proofs.replace(state)
            self._remote.note_proof(name)

    def take_checked(self, message: Message) -> None:
        """End the checks of a backend."""
        self._remote.end(str(message.get("backend")))

    def lose(self) -> None:
        """End what waits for the first process, which is gone."""
        self._remote.end_all()

    def _follow_backend(self, name: str, watched: WatchedBackend) -> WatchedBackend:
        """Return a backend that is checked by the first process; its proofs are what is known of it here."""
        known = self._roster.plan.backends.get(name)
        proofs = known.proofs if known is not None and known.identity == watched.identity else Proofs()
        check = None if watched.check is None else partial(self._remote.check, name)
        return evolve(watched, check=check, proofs=proofs)


def _unknown_view(plan: Plan, now: float) -> SentView:
    """Return a view in which the first backend of each route is active, and nothing is known of any."""
    first = tuple(route[0] for route in plan.routes)
    states = {name: BackendState(State.UNKNOWN, now, None) for name in plan.backends}
    return SentView(RoutingState(first, first), states, settled=False)
