"""The commands that read the history."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from facaded.admin.control import CommandRefusedError, Parameters
from facaded.admin.history_commands import HistoryCommands, PastChanges, PullStatistics
from facaded.history.past import DAY, HistoryBatch, PastChange
from facaded.history.queries import MOST_CHANGES_READ, PullSum
from facaded.history.recorder import INTERVAL, OFF
from facaded.net.json_documents import Document, from_object, to_json
from tests.history.recording import NOON, Recording, pull


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    recording = Recording(tmp_path)
    recording.start()
    yield recording
    recording.stop()


def ask(recording: Recording, path: str, **parameters: str) -> Document:
    commands = HistoryCommands(recording.recorder, lambda: recording.wall)
    return recording.wait_for(commands.table["GET", path](Parameters(**parameters)))  # type: ignore[arg-type]


def write(recording: Recording, batch: HistoryBatch) -> None:
    recording.wait_for(recording.recorder._thread.run(lambda: recording.recorder._store.write(batch)))


def change(at: float) -> PastChange:
    return PastChange(at, "down", "warning", "main", "main is down")


def test_changes_of_a_week_are_listed_latest_first(recording: Recording) -> None:
    write(recording, HistoryBatch(NOON, (change(NOON - 8 * DAY), change(NOON - 6 * DAY))))
    document = ask(recording, "/history")
    assert isinstance(document, PastChanges)
    assert (document.days, document.omitted) == (7, False)
    assert [one.at for one in document.changes] == [NOON, NOON - 6 * DAY]
    longer = ask(recording, "/history", days="9")
    assert isinstance(longer, PastChanges)
    assert len(longer.changes) == 3
    assert from_object(to_json(longer), PastChanges) == longer


def test_too_many_changes_are_omitted(recording: Recording) -> None:
    write(recording, HistoryBatch(NOON, tuple(change(NOON - number) for number in range(MOST_CHANGES_READ + 1))))
    document = ask(recording, "/history")
    assert isinstance(document, PastChanges)
    assert (len(document.changes), document.omitted) == (MOST_CHANGES_READ, True)


def test_pulls_of_all_images_of_one_and_of_one_tag_are_counted(recording: Recording) -> None:
    for key, count in ((pull(), 1), (pull("v2"), 2), (pull("v1", "org/b"), 4)):
        recording.pulls.add(key, count)
    recording.advance(INTERVAL)
    whole = ask(recording, "/stats")
    assert isinstance(whole, PullStatistics)
    assert (whole.days, whole.first, whole.total) == (30, "2024-09-05", PullSum("", 7))
    assert whole.images == (PullSum("org/b", 4), PullSum("org/app", 3))
    assert whole.tags == ()
    assert from_object(to_json(whole), PullStatistics) == whole
    one = ask(recording, "/stats", image="org/app", days="1")
    assert isinstance(one, PullStatistics)
    assert (one.first, one.total, one.images) == ("2024-10-04", PullSum("", 3), ())
    assert one.tags == (PullSum("v2", 2), PullSum("v1", 1))
    tag = ask(recording, "/stats", image="org/app:v1")
    assert isinstance(tag, PullStatistics)
    assert (tag.image, tag.total) == ("org/app:v1", PullSum("", 1))


@pytest.mark.parametrize("days", ["0", "-1", "3651", "1.5", "x", "\u0661", "9" * 30])
def test_days_are_a_whole_number(recording: Recording, days: str) -> None:
    for path in ("/history", "/stats"):
        with pytest.raises(CommandRefusedError, match="days: expected a whole number from 1 to 3650"):
            ask(recording, path, days=days)


def test_what_is_no_image_is_refused(recording: Recording) -> None:
    with pytest.raises(CommandRefusedError, match="'Org' is not a repository name"):
        ask(recording, "/stats", image="Org")


def test_a_history_that_is_off_is_refused_with_the_remedy(tmp_path: Path) -> None:
    recording = Recording(tmp_path, days=0)
    recording.start()
    with pytest.raises(CommandRefusedError) as refused:
        ask(recording, "/history")
    assert refused.value.problems == (OFF,)
    recording.stop()
