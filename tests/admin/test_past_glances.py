"""What is read of the history for the page: seldom, and never waited for long."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from facaded.admin import past_glances
from facaded.admin.past_glances import FRESH, PATIENCE, RETRY, STALLED, USABLE, PastGlance, PastGlances
from facaded.history.past import HistoryBatch, HistoryError, PastChange
from facaded.history.queries import PullSum
from facaded.history.recorder import INTERVAL, OFF
from tests.history.recording import NOON, Recording, pull

WORKS = PastGlance(changes=(PastChange(NOON, "up", "notice", "main", "main is up"),))


@define
class SlowHistory:
    """A history that answers when the test says so."""

    waiting: list[Deferred[Any]] = field(factory=list)

    def read(self, query: Callable[[sqlite3.Connection], Any]) -> Deferred[Any]:
        self.waiting.append(Deferred())
        return self.waiting[-1]


@define
class Looking:
    """A page that looks at a history."""

    clock: Clock = field(factory=Clock)
    history: SlowHistory = field(factory=SlowHistory)
    glances: PastGlances = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.glances = PastGlances(self.clock, lambda: NOON, self.history)

    def look(self) -> list[PastGlance]:
        seen: list[PastGlance] = []
        Deferred.fromCoroutine(self.glances.look()).addCallback(seen.append)
        return seen


def test_a_stalled_history_delays_a_page_by_half_a_second_and_is_asked_once() -> None:
    looking = Looking()
    first, second = looking.look(), looking.look()
    assert (first, second) == ([], [])
    looking.clock.advance(PATIENCE)
    assert first == second == [PastGlance(STALLED)]
    looking.clock.advance(3600)
    later = looking.look()
    looking.clock.advance(PATIENCE)
    assert later == [PastGlance(STALLED)]
    assert len(looking.history.waiting) == 1
    looking.history.waiting[0].callback(WORKS)
    assert looking.look() == [WORKS]


def test_what_was_read_is_shown_while_it_is_read_again() -> None:
    looking = Looking()
    seen = looking.look()
    looking.history.waiting[0].callback(WORKS)
    assert seen == [WORKS]
    looking.clock.advance(FRESH - 1)
    assert looking.look() == [WORKS]
    assert len(looking.history.waiting) == 1
    looking.clock.advance(2)
    assert looking.look() == [WORKS], "nobody waits"
    assert len(looking.history.waiting) == 2
    looking.clock.advance(USABLE)
    late = looking.look()
    looking.clock.advance(PATIENCE)
    assert late == [PastGlance(STALLED)]
    assert looking.clock.getDelayedCalls() == []


def test_why_there_is_no_history_is_shown() -> None:
    looking = Looking()
    seen = looking.look()
    looking.history.waiting[0].errback(HistoryError(OFF))
    assert seen == [PastGlance(OFF)]
    looking.clock.advance(RETRY)
    assert looking.look() == [PastGlance(OFF)]
    looking.history.waiting[1].callback(PastGlance())
    assert looking.look() == [PastGlance()], "it works soon after its start"


def test_an_internal_error_is_logged_and_shown_as_none_of_the_history_s(no_errors_are_logged: list[LogEvent]) -> None:
    looking = Looking()
    seen = looking.look()
    looking.history.waiting[0].errback(RuntimeError("boom"))
    assert seen == [PastGlance("the history could not be read: see the log")]
    (event,) = no_errors_are_logged
    assert "boom" in str(event["log_failure"])
    no_errors_are_logged.clear()


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path)
    recording.start()
    yield recording
    recording.stop()


def look_at(recording: Recording) -> PastGlance:
    glances = PastGlances(recording.reactor, lambda: recording.wall, recording.recorder)
    return recording.wait_for(Deferred.fromCoroutine(glances.look()))


def test_changes_conditions_and_pulls_are_read(recording: Recording) -> None:
    changes = tuple(PastChange(NOON - number, "down", "warning", "main", f"{number}") for number in range(30))
    recorder = recording.recorder
    recording.wait_for(recorder._thread.run(lambda: recorder._store.write(HistoryBatch(NOON, changes))))
    for number in range(12):
        recording.pulls.add(pull(repository=f"org/{number}"), number + 1)
    recording.advance(INTERVAL)
    recording.reactor.run_call()
    glance = look_at(recording)
    assert (glance.problem, len(glance.changes), len(glance.conditions["main"])) == ("", 20, 30)
    assert glance.pulls is not None
    assert glance.pulls.whole == PullSum("", 78)
    assert len(glance.pulls.images) == 10
    assert glance.pulls.images[0] == PullSum("org/11", 12)


def test_pulls_are_added_up_only_twice(recording: Recording) -> None:
    statements: list[str] = []
    recording.pulls.add(pull(), 1)
    recording.advance(INTERVAL)
    recording.reactor.run_call()
    traced = recording.recorder.read(lambda connection: connection.set_trace_callback(statements.append))
    recording.wait_for(traced)
    assert look_at(recording).pulls is not None
    assert len([one for one in statements if "FROM pulls" in one]) == 2, "a full history takes some 0.2 s each time"


def test_sqlite_gives_up_a_query_that_takes_too_long(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_glances, "READING_TIME", -1.0)
    monkeypatch.setattr(past_glances, "STEPS", 1)
    assert look_at(recording).problem == "the history cannot be read (interrupted): see the log"
    monkeypatch.setattr(past_glances, "READING_TIME", 60.0)
    assert look_at(recording).problem == "", "the next one is not given up"
