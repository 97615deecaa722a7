"""Notifications: runs the operator's command when something has happened, one run at a time.

Events that come while it runs wait, and are sent together. Nothing here waits for the command.
"""

import json
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from attrs import field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, LogPublisher, formatEvent
from zope.interface import implementer

from facaded.backends.watch import Watch
from facaded.command_run import CommandRun, RunResult
from facaded.net.json_documents import to_json
from facaded.policy.changes import Change
from facaded.policy.events import Event, EventKind, Severity
from facaded.policy.notification import compose
from facaded.policy.pending_events import NOTIFIED, PendingEvents

PAUSE = 1.0
"""Least seconds between the starts of two runs: a state that changes all the time must not take the CPU."""

STOP_GRACE = 2.0
"""Seconds that a command has to end after a stop of facaded."""


class Run(Protocol):
    """One run of a command."""

    def start(self, document: bytes) -> Deferred[RunResult]:
        """Start the command; see `CommandRun.start`."""

    def stop(self, grace: float) -> Deferred[None]:
        """End it after `grace` seconds; see `CommandRun.stop`."""


MakeRun: TypeAlias = Callable[[IReactorTime, tuple[str, ...], Mapping[str, str]], Run]


@frozen
class NotificationTarget:
    """The command that gets notifications, none if it is empty, its environment, and facaded's names."""

    command: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(factory=dict)
    hosts: tuple[str, ...] = ()


@implementer(ILogObserver)
class Notifications(Service):
    """Runs the command of `target` for changes of the backends, and for lines of the log with an `event_kind`.

    `wall` returns seconds since the epoch. `publisher` has the events of the log: trouble with certificates is told
    only there. `make_run` takes the clock, a command and its environment.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        watch: Watch,
        publisher: LogPublisher,
        target: NotificationTarget,
        make_run: MakeRun = CommandRun,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._watch = watch
        self._publisher = publisher
        self._target = target
        self._make_run = make_run
        self._pending = PendingEvents()
        self._run: Run | None = None
        self._next_run: IDelayedCall | None = None
        self._earliest = clock.seconds()
        watch.subscribe(self._take_change)

    def startService(self) -> None:
        Service.startService(self)
        self._publisher.addObserver(self)
        self._schedule()

    def stopService(self) -> Deferred[None]:
        """Give a command that runs `STOP_GRACE` seconds. Events that wait are not sent."""
        Service.stopService(self)
        self._publisher.removeObserver(self)
        self._cancel()
        if self._pending.events:
            self._log.warn("notify.command: {events} not sent: stopping", events=_count(len(self._pending.events)))
        return succeed(None) if self._run is None else self._run.stop(STOP_GRACE)

    def reconfigure(self, target: NotificationTarget) -> None:
        """Apply new settings. A command that runs goes on."""
        self._target = target
        if not target.command:
            self._pending = PendingEvents()
            self._cancel()

    def __call__(self, event: LogEvent) -> None:
        """Observe an event of the log."""
        kind = event.get("event_kind")
        if kind is EventKind.CERTIFICATE_TROUBLE:
            severity = Severity.ERROR if event.get("log_level") is LogLevel.error else Severity.WARNING
            self._add(Event(kind, severity, formatEvent(event)))

    def _take_change(self, change: Change) -> None:
        for event in change.events:
            if event.kind in NOTIFIED:
                self._add(event)

    def _add(self, event: Event) -> None:
        if self._target.command:
            self._pending = self._pending.add(event, self._wall())
            self._schedule()

    def _schedule(self) -> None:
        """Start a run soon, after all events of this turn, unless one is in progress or scheduled."""
        if self.running and self._pending.events and self._run is None and self._next_run is None:
            delay = max(self._earliest - self._clock.seconds(), 0.0)
            self._next_run = self._clock.callLater(delay, self._start_run)

    def _cancel(self) -> None:
        if self._next_run is not None:
            self._next_run.cancel()
            self._next_run = None

    def _start_run(self) -> None:
        pending, self._pending, self._next_run = self._pending, PendingEvents(), None
        self._earliest = self._clock.seconds() + PAUSE
        document = to_json(compose(pending, self._watch.snapshot(), self._target.hosts))
        self._run = self._make_run(self._clock, self._target.command, self._target.environ)
        ended = self._run.start(json.dumps(document).encode() + b"\n")
        ended.addCallback(self._take_result, len(pending.events)).addErrback(
            lambda failure: self._log.failure("internal error in a notification", failure)
        )

    def _take_result(self, result: RunResult, count: int) -> None:
        self._run = None
        if result.problem:
            self._log.warn(
                "notify.command: {problem}; not sent: {events}{output}",
                problem=result.problem,
                events=_count(count),
                output=f"; its standard error: {result.output}" if result.output else "",
            )
        self._schedule()


def _count(events: int) -> str:
    return "1 event" if events == 1 else f"{events} events"
