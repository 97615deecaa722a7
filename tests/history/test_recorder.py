"""The recorder: what it collects is written by its thread, and a slow or broken disk stops nothing else."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event as Gate

import pytest
from twisted.logger import LogEvent

from facaded.history.database_thread import WAITING
from facaded.history.history_file import NAME
from facaded.history.past import HistoryError, PastChange
from facaded.history.queries import PullTotals, read_changes, read_pulls, read_requests
from facaded.history.recorder import INTERVAL, MOST_CHANGES_WAITING, OFF, STOP_TIME, STUCK
from facaded.oci.clients import Family
from facaded.policy.changes import Change
from facaded.web.answered_requests import Outcome
from tests.history.recording import NOON, Recording, place, pull
from tests.log_lines import log_lines
from tests.watching import GOOD, Watching


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path)
    recording.start()
    yield recording
    if recording.recorder.running:
        recording.stop()


def changes(recording: Recording) -> list[tuple[float, str, str, str]]:
    rows = recording.wait_for(recording.recorder.read(lambda connection: read_changes(connection, 0)))
    return [(one.at - NOON, one.kind, one.backend, one.text) for one in reversed(rows)]


def totals(recording: Recording) -> PullTotals:
    return recording.wait_for(recording.recorder.read(lambda connection: read_pulls(connection, 0)))


STARTED = (0, "started", "", "facaded 0.1.0 started")


def test_changes_of_the_backends_and_starts_and_stops_are_recorded(recording: Recording) -> None:
    watching = Watching.begin("main", "second")
    watching.watch.subscribe(recording.recorder.follow)
    for name in ("main", "second"):
        watching.backends.answer(name, GOOD)
    recording.advance(INTERVAL)
    recorded = changes(recording)
    assert recorded[0] == STARTED
    assert recorded[1] == (0, "up", "main", "main is up")
    recording.stop()
    again = Recording(recording.directory, wall=NOON + 100)
    again.start()
    kinds = [kind for _, kind, _, _ in changes(again)]
    assert kinds[-2:] == ["stopped", "started"]
    again.stop()


def test_pulls_are_written_every_few_seconds_and_at_the_stop(recording: Recording) -> None:
    recording.pulls.add(pull(), 3)
    recording.advance(INTERVAL)
    recording.reactor.run_call()
    assert totals(recording).whole.pulls == 3
    for number in range(1500):
        recording.pulls.add(pull(f"v{number}"), 1)
    recording.stop()
    again = Recording(recording.directory)
    again.start()
    assert totals(again).whole.pulls == 1503
    again.stop()


def test_requests_are_counted_by_the_minute(recording: Recording) -> None:
    key = (Outcome.REDIRECTED, Family.DOCKER)
    recording.requests.counts[key] = 5
    recording.advance(60)
    recording.reactor.run_call()
    recording.requests.counts[key] = 12
    recording.requests.counts[Outcome.SERVED, Family.OTHER] = 1
    recording.advance(60)
    recording.reactor.run_call()
    del recording.requests.counts[Outcome.SERVED, Family.OTHER]  # a reload has removed its backend
    recording.requests.counts[key] = 14
    recording.stop()
    again = Recording(recording.directory)
    again.start()
    rows = again.wait_for(again.recorder.read(lambda connection: read_requests(connection, 0)))
    noon = int(NOON // 60)
    assert [(row.minute - noon, row.answer, row.family, row.count) for row in rows] == [
        (2, "redirected", "docker", 2),
        (1, "redirected", "docker", 7),
        (1, "served", "other", 1),
        (0, "redirected", "docker", 5),
    ]
    again.stop()


def test_without_days_nothing_is_written(tmp_path: Path) -> None:
    recording = Recording(tmp_path, days=0)
    recording.start()
    recording.pulls.add(pull(), 1)
    recording.recorder.follow(None)  # type: ignore[arg-type]
    recording.advance(INTERVAL)
    with pytest.raises(HistoryError) as raised:
        totals(recording)
    assert str(raised.value) == OFF
    recording.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_reload_switches_it_on_and_off_and_moves_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "one", days=0)
    recording.requests.counts[Outcome.SERVED, Family.DOCKER] = 100
    recording.start()
    recording.recorder.reconfigure(place(tmp_path / "two"))
    recording.pulls.add(pull(), 1)
    recording.advance(60)
    assert totals(recording).whole.pulls == 1
    rows = recording.wait_for(recording.recorder.read(lambda connection: read_requests(connection, 0)))
    assert rows == (), "what was before the reload does not count"
    recording.recorder.reconfigure(place(tmp_path / "three"))
    recording.pulls.add(pull(), 5)
    recording.advance(INTERVAL)
    assert totals(recording).whole.pulls == 5
    recording.recorder.reconfigure(place(tmp_path / "three", days=0))
    recording.stop()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three", "two"]
    assert [path.name for path in (tmp_path / "two").iterdir()] == [NAME]


def test_what_stops_it_is_logged_once_and_what_was_set_aside_too(
    tmp_path: Path, no_errors_are_logged: list[LogEvent]
) -> None:
    with log_lines() as lines:
        (tmp_path / NAME).mkdir()
        recording = Recording(tmp_path)
        recording.start()
        for _ in range(3):
            recording.pulls.add(pull(), 1)
            recording.advance(INTERVAL)
            recording.reactor.run_call()
        assert [line for line in lines if "history" in line] == [lines[0]]
        assert "Is a directory" in lines[0]
        (tmp_path / NAME).rmdir()
        (tmp_path / NAME).write_text("no database" * 1000)
        recording.recorder.reconfigure(place(tmp_path))
        recording.pulls.add(pull(), 1)
        recording.advance(INTERVAL)
        assert totals(recording).whole.pulls == 1
        assert "the history is damaged: it is now" in lines[1]
        recording.stop()
        assert len(lines) == 2


def stall(recording: Recording) -> Gate:
    """Let the thread wait, as for a slow disk, until the gate is set."""
    gate = Gate()
    recording.recorder.read(lambda connection: gate.wait(30)).addErrback(lambda _: None)
    return gate


def test_while_the_disk_is_slow_memory_is_bounded_and_nothing_waits(recording: Recording) -> None:
    gate = stall(recording)
    change = Change(0, "news", 4, (), (), (), None, None)  # type: ignore[arg-type]
    for number in range(MOST_CHANGES_WAITING + 100):
        recording.pulls.add(pull(f"v{number}"), 1)
        recording.recorder.follow(change)
        recording.recorder._changes.append(PastChange(number, "down", "warning", "main", ""))
        recording.advance(INTERVAL)
    assert len(recording.recorder._changes) == MOST_CHANGES_WAITING
    reads = [
        recording.recorder.read(lambda connection: 1) for _ in range(WAITING - 1)
    ]  # beside this wait and one write
    with pytest.raises(HistoryError) as raised:
        recording.wait_for(reads[-1])
    assert str(raised.value) == STUCK
    gate.set()
    assert recording.wait_for(reads[0]) == 1


def test_a_stop_waits_for_a_slow_disk_a_few_seconds_only(
    recording: Recording, no_errors_are_logged: list[LogEvent]
) -> None:
    gate = stall(recording)
    with log_lines() as lines:
        stopped = recording.recorder.stopService()
        recording.advance(STOP_TIME)
        assert stopped.called
    assert lines == ["the history was not closed, because its disk is slow: the last seconds of it are lost"]
    gate.set()
