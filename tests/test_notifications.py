"""When notifications are sent, and what becomes of events that come meanwhile. The command is not a real one."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, globalLogPublisher

from facaded.command_run import RunResult
from facaded.notifications import PAUSE, STOP_GRACE, Notifications, NotificationTarget
from facaded.policy.events import EventKind
from tests.log_lines import is_warning, log_lines
from tests.watching import BAD, GOOD, Watching, up

TARGET = NotificationTarget(("notify", "--now"), {"PATH": "/bin"}, ("docker.lab.test",))


@define(eq=False)
class FakeRun:
    """A run of a command that ends when the test says so. `document` is what it got, `graces` what a stop gave it."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    document: dict[str, Any] = field(factory=dict)
    graces: list[float] = field(factory=list)
    ended: Deferred[RunResult] = field(factory=Deferred)
    stopped: Deferred[None] = field(factory=Deferred)

    def start(self, document: bytes) -> Deferred[RunResult]:
        self.document = json.loads(document)
        return self.ended

    def stop(self, grace: float) -> Deferred[None]:
        self.graces.append(grace)
        return self.stopped

    def end(self, problem: str = "", output: str = "") -> None:
        self.ended.callback(RunResult(problem, output))


@define
class Lab:
    """Notifications of a watch, and the runs of the command that they start."""

    watching: Watching = field(factory=lambda: up("main", "second"))
    clock: Clock = field(factory=Clock)
    runs: list[FakeRun] = field(factory=list)
    notifications: Notifications = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.notifications = Notifications(
            self.clock, lambda: 1000.0, self.watching.watch, globalLogPublisher, TARGET, self.make_run
        )

    def make_run(self, _: object, command: tuple[str, ...], environ: Mapping[str, str]) -> FakeRun:
        self.runs.append(FakeRun(command, environ))
        return self.runs[-1]

    @property
    def running(self) -> FakeRun:
        return self.runs[-1]

    def move(self, name: str) -> None:
        """Cause a failover to "second", or a failback to "main"."""
        self.watching.watch.pin(name, None)

    def pass_time(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    with log_lines(is_warning) as lines:
        yield lines


@pytest.fixture
def lab() -> Lab:
    lab = Lab()
    lab.notifications.startService()
    return lab


def kinds(run: FakeRun) -> list[str]:
    return [event["kind"] for event in run.document["events"]]


def test_a_failover_starts_the_command_with_the_event(lab: Lab) -> None:
    lab.move("second")
    assert lab.runs == [], "not before this turn of the reactor is over"
    lab.pass_time()
    assert lab.running.command == ("notify", "--now")
    assert lab.running.environ == {"PATH": "/bin"}
    assert lab.running.document["hosts"] == ["docker.lab.test"]
    assert lab.running.document["events"] == [
        {
            "kind": "failover",
            "severity": "warning",
            "text": "second is active: it is pinned",
            "backend": "second",
            "time": 1000.0,
        }
    ]


def test_what_is_not_notified_starts_nothing(lab: Lab) -> None:
    lab.watching.watch.drain("second", None)
    lab.pass_time(10)
    assert lab.runs == []


def test_events_that_come_while_a_command_runs_are_sent_together(lab: Lab) -> None:
    lab.move("second")
    lab.pass_time()
    lab.move("main")
    lab.move("second")
    lab.pass_time(10)
    assert len(lab.runs) == 1, "one at a time"
    lab.running.end()
    lab.pass_time()
    assert len(lab.runs) == 2
    assert kinds(lab.running) == ["failback", "failover"]


def test_at_most_one_command_starts_in_a_second(lab: Lab) -> None:
    lab.move("second")
    lab.pass_time()
    lab.running.end()
    lab.move("main")
    lab.pass_time(PAUSE / 2)
    assert len(lab.runs) == 1
    lab.pass_time(PAUSE / 2)
    assert len(lab.runs) == 2


def test_a_command_that_fails_is_a_warning_with_its_output_and_the_next_one_runs(lab: Lab, warnings: list[str]) -> None:
    lab.move("second")
    lab.pass_time()
    lab.running.end("it exited with status 3", "no route to the pager")
    assert warnings == [
        "notify.command: it exited with status 3; not sent: 1 event; its standard error: no route to the pager"
    ]
    lab.move("main")
    lab.pass_time(PAUSE)
    assert len(lab.runs) == 2


def test_trouble_with_a_certificate_is_an_event_with_the_text_of_the_log(
    lab: Lab, no_errors_are_logged: list[LogEvent]
) -> None:
    log = Logger()
    log.warn("{name}: not renewed", name="a.test", event_kind=EventKind.CERTIFICATE_TROUBLE)
    log.error("{name} has expired", name="a.test", event_kind=EventKind.CERTIFICATE_TROUBLE)
    log.warn("{name}: another daemon renews it", name="a.test", event_kind=None)
    no_errors_are_logged.clear()
    lab.pass_time()
    events = [(event["severity"], event["text"]) for event in lab.running.document["events"]]
    assert events == [("warning", "a.test: not renewed"), ("error", "a.test has expired")]
    assert lab.running.document["severity"] == "error"


def test_a_reload_changes_the_command_and_can_switch_it_off(lab: Lab) -> None:
    lab.move("second")
    lab.notifications.reconfigure(NotificationTarget())
    lab.pass_time(10)
    assert lab.runs == [], "the event is not for a command of later"
    lab.notifications.reconfigure(NotificationTarget(("other",)))
    lab.move("main")
    lab.pass_time()
    assert lab.running.command == ("other",)
    assert kinds(lab.running) == ["failback"]


def test_events_before_the_start_are_sent_after_it() -> None:
    lab = Lab()
    lab.move("second")
    lab.pass_time(10)
    assert lab.runs == []
    lab.notifications.startService()
    lab.pass_time()
    assert kinds(lab.running) == ["failover"]


def test_a_stop_waits_for_the_command_for_a_moment_and_says_what_is_not_sent(lab: Lab, warnings: list[str]) -> None:
    lab.move("second")
    lab.pass_time()
    lab.move("main")
    stopped = lab.notifications.stopService()
    assert warnings == ["notify.command: 1 event not sent: stopping"]
    assert (lab.running.graces, stopped.called) == ([STOP_GRACE], False)
    lab.running.stopped.callback(None)
    assert stopped.called
    lab.running.end()
    lab.pass_time(10)
    assert len(lab.runs) == 1


def test_a_stop_without_a_command_ends_at_once(lab: Lab) -> None:
    lab.move("second")
    assert lab.notifications.stopService().called
    lab.pass_time(10)
    assert lab.runs == []


def test_an_outage_and_the_return_of_one_backend_are_errors_and_a_notice(lab: Lab) -> None:
    watching = lab.watching
    watching.advance(10)
    for name in ("main", "second"):
        watching.backends.answer(name, BAD)
    watching.advance(1)
    for name in ("main", "second"):
        if name in watching.backends.waiting:
            watching.backends.answer(name, BAD)
    lab.pass_time()
    assert "all down" in kinds(lab.running)
    assert lab.running.document["severity"] == "error"
    assert {backend["state"] for backend in lab.running.document["backends"]} == {"down"}
    lab.running.end()
    for _ in range(2):
        watching.advance(40)
        for name in list(watching.backends.waiting):
            watching.backends.answer(name, GOOD)
    watching.advance(1)
    lab.pass_time(PAUSE)
    assert "all down ended" in kinds(lab.running)
