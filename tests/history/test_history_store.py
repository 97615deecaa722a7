"""The history in its thread: errors stop it alone, are news once, and are tried again."""

import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facaded.history import history_file
from facaded.history.history_file import NAME, VERSION, HistoryFile
from facaded.history.history_store import RETRY, HistoryStore
from facaded.history.past import DAY, HistoryBatch, HistoryError
from facaded.history.queries import read_pulls
from tests.history.recording import NOON, place, pull
from tests.history.test_history_file import damage

BATCH = HistoryBatch(NOON, pulls=((pull(), 1),))


def at(seconds: float) -> HistoryBatch:
    return HistoryBatch(NOON + seconds, pulls=((pull(), 1),))


def count(store: HistoryStore) -> int:
    return store.read(lambda connection: read_pulls(connection, 0)).whole.pulls


def test_what_is_written_is_read_after_a_restart(tmp_path: Path) -> None:
    store = HistoryStore(place(tmp_path))
    with pytest.raises(HistoryError, match="the history has not begun: try again in a few seconds"):
        count(store)
    assert store.write(BATCH) == ""
    store.close()
    store = HistoryStore(place(tmp_path))
    assert store.write(BATCH) == ""
    assert count(store) == 2
    store.close()
    store.close()


def test_another_process_s_file_stops_it_with_one_warning_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_file, "LOCK_WAIT", 0.1)
    other = HistoryFile(place(tmp_path))
    other.write(BATCH)
    store = HistoryStore(place(tmp_path))
    with pytest.raises(HistoryError) as raised:
        store.write(BATCH)
    assert str(raised.value) == (
        f"the history in {tmp_path} cannot be written (database is locked): nothing is recorded now, and facaded "
        "tries again every 10 minutes"
    )
    with pytest.raises(HistoryError, match="database is locked"):
        count(store)
    assert store.write(at(RETRY - 1)) == ""
    assert store.write(at(RETRY + 1)) == "", "it is still locked, which is no news"
    other.close()
    assert store.write(at(2 * RETRY)) == "", "not yet"
    assert store.write(at(2 * RETRY + 2)) == "the history works again"
    assert count(store) == 2
    store.close()


def test_a_clock_that_is_set_back_by_days_does_not_delay_the_next_try(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    store = HistoryStore(place(tmp_path))
    with pytest.raises(HistoryError):
        store.write(BATCH)
    (tmp_path / NAME).rmdir()
    assert store.write(at(1)) == "", "not yet"
    assert store.write(at(-3 * DAY)) == "the history works again"
    store.close()


def test_a_database_of_something_else_is_set_aside(tmp_path: Path) -> None:
    for version, schema in ((0, "CREATE TABLE changes (a)"), (VERSION, "CREATE TABLE pulls (a)"), (-3, "SELECT 1")):
        other = sqlite3.connect(tmp_path / NAME)
        other.executescript(f"{schema}; PRAGMA user_version = {version};")
        other.close()
        store = HistoryStore(place(tmp_path))
        assert "the history is damaged: it is now" in store.write(at(version * 60)), schema
        assert count(store) == 1
        store.close()
        (tmp_path / NAME).unlink()


@pytest.mark.parametrize("size", [99, 100, 4096, 8192, 40_000, 80_000])
def test_a_file_that_was_cut_off_is_set_aside(tmp_path: Path, size: int) -> None:
    store = HistoryStore(place(tmp_path))
    store.write(HistoryBatch(NOON, pulls=tuple((pull(f"v{number}"), 1) for number in range(1999))))
    store.close()
    assert (tmp_path / NAME).stat().st_size > 80_000
    os.truncate(tmp_path / NAME, size)
    assert "the history is damaged: it is now" in store.write(BATCH)
    assert count(store) == 1
    store.close()


@pytest.mark.parametrize("content", [b"", b"S"])  # SQLite takes the second for empty too
def test_an_empty_file_is_filled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    store = HistoryStore(place(tmp_path))
    assert store.write(BATCH) == ""
    assert count(store) == 1
    store.close()


def test_a_file_that_is_removed_while_it_is_used_begins_anew(tmp_path: Path) -> None:
    store = HistoryStore(place(tmp_path / "state"))
    store.write(BATCH)
    (tmp_path / "state" / NAME).unlink()
    assert store.write(BATCH) == f"the history in {tmp_path / 'state'} was removed or replaced: it is opened again"
    assert count(store) == 1
    shutil.rmtree(tmp_path / "state")
    assert store.write(BATCH).endswith("it is opened again")
    assert (store.write(BATCH), count(store)) == ("", 2)
    store.close()


def test_a_backup_that_replaces_the_file_is_used(tmp_path: Path) -> None:
    for directory, pulls in (("state", 1), ("backup", 7)):
        earlier = HistoryStore(place(tmp_path / directory))
        earlier.write(HistoryBatch(NOON, pulls=((pull(), pulls),)))
        earlier.close()
    store = HistoryStore(place(tmp_path / "state"))
    store.write(BATCH)
    (tmp_path / "backup" / NAME).rename(tmp_path / "state" / NAME)
    assert store.write(BATCH).endswith("it is opened again")
    assert count(store) == 8
    store.close()


def write_all(store: HistoryStore, batches: Iterable[HistoryBatch]) -> None:
    for batch in batches:
        store.write(batch)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_stops_it_with_one_warning_and_loses_nothing_before(tmp_path: Path) -> None:
    store = HistoryStore(place(tmp_path))
    store.write(BATCH)
    many = tuple((pull(f"v{number}"), 1) for number in range(500))
    batches = [HistoryBatch(NOON + second, pulls=(*many, (pull(f"w{second}"), 1))) for second in range(200)]
    with full_disk(60_000), pytest.raises(HistoryError, match="cannot be written"):
        write_all(store, batches)
    assert store.write(at(RETRY + 300)) == "the history works again"
    assert count(store) >= 2
    store.close()


def test_a_directory_that_cannot_be_made_stops_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = HistoryStore(place(tmp_path / "file" / "state"))
    with pytest.raises(HistoryError, match="Not a directory"):
        store.write(BATCH)
    store.move(place(tmp_path / "state"))
    assert store.write(at(1)) == "the history works again", "a reload tries it at once"
    store.close()


def test_a_damaged_file_is_set_aside_and_a_new_one_begins(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database" * 1000)
    store = HistoryStore(place(tmp_path))
    assert store.write(BATCH) == (
        f"the history is damaged: it is now {tmp_path / NAME}.damaged-20241004T120000Z, and a new one begins"
    )
    assert count(store) == 1
    store.close()


def test_a_file_that_is_damaged_while_it_is_used_is_set_aside_at_the_next_write(tmp_path: Path) -> None:
    store = HistoryStore(place(tmp_path))
    store.write(HistoryBatch(NOON, pulls=tuple((pull(f"v{number}"), 1) for number in range(1999))))
    store.close()
    store.write(BATCH)
    damage(tmp_path / NAME)
    store.read(lambda connection: connection.execute("PRAGMA shrink_memory"))
    many = HistoryBatch(NOON, pulls=tuple((pull(f"w{number}", f"org/{number}"), 1) for number in range(500)))
    with pytest.raises(HistoryError, match="malformed"):
        store.write(many)
    assert "the history is damaged: it is now" in store.write(at(1))
    store.close()


def test_a_file_of_a_newer_version_is_set_aside(tmp_path: Path) -> None:
    HistoryFile(place(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    store = HistoryStore(place(tmp_path))
    assert store.write(BATCH).startswith("the history was written by a newer facaded: it is now ")
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, f"{NAME}.newer-20241004T120000Z"]


def test_a_query_that_fails_is_an_error_of_the_query_alone(tmp_path: Path) -> None:
    store = HistoryStore(place(tmp_path))
    store.write(BATCH)
    with pytest.raises(HistoryError, match="the history cannot be read"):
        store.read(lambda connection: connection.execute("SELECT * FROM nothing"))
    assert count(store) == 1
    store.close()


def test_a_file_that_only_another_user_can_open_stops_it(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    store = HistoryStore(place(tmp_path))
    with pytest.raises(HistoryError, match="Is a directory"):
        store.write(BATCH)
    os.rmdir(tmp_path / NAME)
    store.close()
