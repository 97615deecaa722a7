"""The file of the history: an SQLite database, whose size is bounded with all that SQLite writes beside it.

One thread uses it, over the only connection: other processes are locked out, because a reader would keep SQLite from
emptying its log (the WAL), which would then grow without bound. If the power fails, what was written since the last
checkpoint may be lost; if the process dies, nothing.

The policy for its version: a new column or table that older versions can ignore keeps `VERSION`. Anything else raises
it, and `open` converts older files. A file with a newer version is set aside unchanged, and a new one is begun.
"""

import json
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from facaded import files
from facaded.history.past import DAY, HistoryBatch, HistoryPlace, MinuteCount, PastChange
from facaded.history.retention import Retention
from facaded.policy.pull_kinds import PullKey

T = TypeVar("T")

NAME = "history.db"

VERSION = 1

LOCK_WAIT = 2.0
"""Seconds to wait for another process that has the file open: the one that is just stopping, after a restart."""

CHECKPOINT_PAGES = 250
"""Pages in the log at which SQLite copies them into the file: 1 MiB."""

ROWS_PER_DAY = 2000
"""Most rows of pulls a day: with the longest names 0.9 MB. What is more is counted without a name."""

UNPROVEN_PER_DAY = 500
"""Most of these rows whose names no backend has confirmed: strangers can make them up."""

MOST_CHANGES = 20_000
"""Most changes: some 4 MB. A backend that fails and recovers each minute makes 1,440 of each a day."""

SCHEMA = """
CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE changes (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL, backend TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE INDEX changes_at ON changes (at);
CREATE TABLE requests (
    minute INTEGER NOT NULL, answer INTEGER NOT NULL, family INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (minute, answer, family)) WITHOUT ROWID;
CREATE TABLE pulls (
    day INTEGER NOT NULL, repository TEXT NOT NULL, reference TEXT NOT NULL, family INTEGER NOT NULL,
    kind INTEGER NOT NULL, is_proven INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (day, repository, reference, family, kind)) WITHOUT ROWID;
"""

TABLES = (
    "SELECT id, word FROM words LIMIT 0",
    "SELECT id, at, kind, severity, backend, text FROM changes LIMIT 0",
    "SELECT minute, answer, family, count FROM requests LIMIT 0",
    "SELECT day, repository, reference, family, kind, is_proven, count FROM pulls LIMIT 0",
)
"""Fail if a table has not what is read of it."""

EXISTING_PULLS = """
SELECT json_group_array(new.key) FROM json_each(?) AS new CROSS JOIN pulls ON day = ?
AND repository = json_extract(new.value, '$[0]') AND reference = json_extract(new.value, '$[1]')
AND family = json_extract(new.value, '$[2]') AND kind = json_extract(new.value, '$[3]')
"""
"""The places of the rows of a JSON array that the table has. CROSS JOIN makes SQLite look up one after the other."""

ADD_PULLS = """
INSERT INTO pulls (day, repository, reference, family, kind, is_proven, count)
SELECT ?, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]') FROM json_each(?) WHERE true
ON CONFLICT (day, repository, reference, family, kind)
    DO UPDATE SET count = count + excluded.count, is_proven = max(is_proven, excluded.is_proven)
"""
"""Adds the rows of a JSON array, all by one step of SQLite.

A step for each row would take Python's global lock for each, on which the thread of the reactor would wait.
"""

ADD_REQUESTS = """
INSERT INTO requests (minute, answer, family, count) VALUES (?, ?, ?, ?)
ON CONFLICT (minute, answer, family) DO UPDATE SET count = count + excluded.count
"""

DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class NewerFileError(Exception):
    """The file was written by a newer version of facaded."""


class HistoryFile:
    """An open file. All its methods raise sqlite3.Error or OSError, after which it is to be closed."""

    def __init__(self, place: HistoryPlace, seconds: Callable[[], float] = time.monotonic) -> None:
        """Open or create the file. Raises NewerFileError and DamagedFileError too. `seconds` returns monotonic time."""
        files.make_directory(place.directory)
        self._path = path = place.directory / NAME
        _make_private(path)
        self._place_on_disk = _place_on_disk(path)
        self._connection = sqlite3.connect(path, timeout=LOCK_WAIT, isolation_level=None)
        try:
            self._begin()
            self._retention = Retention(self._connection, place, seconds)
            self._words = dict(self._connection.execute("SELECT word, id FROM words"))
        except BaseException:
            self._connection.close()
            raise
        self._day = -1
        self._rows = self._unproven = 0

    @property
    def is_there(self) -> bool:
        """Whether the file is still in its place: what is written to a file that was removed is lost."""
        return _place_on_disk(self._path) == self._place_on_disk

    def write(self, batch: HistoryBatch) -> None:
        """Write a batch, all or nothing; then delete what is too old or too much."""
        connection = self._connection
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            self._add_changes(batch.changes)
            self._add_requests(batch.requests)
            self._add_pulls(int(batch.at // DAY), batch.pulls)
        self._retention.apply(batch.at)

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a query reads."""
        return query(self._connection)

    def close(self) -> None:
        """Copy the log into the file, remove it, and close."""
        self._connection.close()

    def abandon(self) -> None:
        """Close a file that is not in its place any more, and remove its log, which does not belong to what is there.

        SQLite would leave the log, and copy it into the next file of this name.
        """
        self.close()
        _remove_logs(self._path)

    def _begin(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # before the first access: then no shared memory is used
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = OFF")  # Debian's default is to write zeros over what is deleted
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 0")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerFileError
        if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise DamagedFileError(f"unknown version {version}")
        self._check_tables()
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedFileError(str(verdict))

    def _check_tables(self) -> None:
        """Raise DamagedFileError if the file has other tables: it belongs to something else."""
        for query in TABLES:
            try:
                self._connection.execute(query)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                    raise
                raise DamagedFileError(str(error)) from None

    def _add_changes(self, changes: Iterable[PastChange]) -> None:
        rows = [(change.at, change.kind, change.severity, change.backend, change.text) for change in changes]
        if not rows:
            return
        execute = self._connection.execute
        self._connection.executemany(
            "INSERT INTO changes (at, kind, severity, backend, text) VALUES (?, ?, ?, ?, ?)", rows
        )
        execute("DELETE FROM changes WHERE id <= (SELECT max(id) FROM changes) - ?", (MOST_CHANGES,))

    def _add_requests(self, requests: Iterable[MinuteCount]) -> None:
        rows = [(one.minute, self._word(one.answer), self._word(one.family), one.count) for one in requests]
        self._connection.executemany(ADD_REQUESTS, rows)

    def _add_pulls(self, day: int, pulls: Sequence[tuple[PullKey, int]]) -> None:
        if not pulls:
            return
        if day != self._day:
            self._day = day
            counted = "SELECT count(*), ifnull(sum(is_proven = 0), 0) FROM pulls WHERE day = ?"
            self._rows, self._unproven = self._connection.execute(counted, (day,)).fetchone()
        rows = [self._row(key, count) for key, count in pulls]
        (places,) = self._connection.execute(EXISTING_PULLS, (json.dumps(rows), day)).fetchone()
        existing = set(json.loads(places))
        for place, (key, count) in enumerate(pulls):
            if place in existing:
                continue
            if self._rows >= ROWS_PER_DAY or (not key.is_proven and self._unproven >= UNPROVEN_PER_DAY):
                rows[place] = self._row(key.unnamed, count)
                continue
            self._rows += 1
            self._unproven += not key.is_proven
        self._connection.execute(ADD_PULLS, (day, json.dumps(rows)))

    def _row(self, key: PullKey, count: int) -> tuple[str, str, int | None, int | None, int, int]:
        """Return the pulls of a day as the columns of a row."""
        codes = self._word(key.family.value), self._word(key.kind.value)
        return key.repository, key.reference, *codes, int(key.is_proven), count

    def _word(self, word: str) -> int | None:
        """Return the number of a word: of a fixed list, so that there are few."""
        number = self._words.get(word)
        if number is None:
            number = self._connection.execute("INSERT INTO words (word) VALUES (?)", (word,)).lastrowid
            self._words[word] = number
        return number


class DamagedFileError(Exception):
    """The content of the file is damaged."""


def is_damage(error: Exception) -> bool:
    """Return whether an error means that the file is damaged, or no database at all."""
    if isinstance(error, DamagedFileError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in DAMAGED_CODES  # extended codes have more in the bits above


def set_aside(place: HistoryPlace, reason: str, now: float) -> Path:
    """Rename the file, and delete those that were set aside before, so that the directory stays small. Raises OSError.

    What SQLite wrote beside it is deleted, because it does not belong to the next file.
    """
    path = place.directory / NAME
    for earlier in place.directory.glob(f"{NAME}.{reason}-*"):
        earlier.unlink(missing_ok=True)
    aside = files.set_aside(path, reason, now)
    _remove_logs(path)
    return aside


def _remove_logs(path: Path) -> None:
    """Remove what SQLite wrote beside a file. Raises OSError."""
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(f"{NAME}{suffix}").unlink(missing_ok=True)


def _place_on_disk(path: Path) -> tuple[int, int] | None:
    """Return what identifies a file, None if it is not there."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make_private(path: Path) -> None:
    """Create the file, readable only by the owner: SQLite gives its log the same mode. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    descriptor = os.open(path, flags, files.PRIVATE_FILE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "not a regular file", str(path))
        if stat.S_IMODE(status.st_mode) != files.PRIVATE_FILE and status.st_uid == os.geteuid():
            os.fchmod(descriptor, files.PRIVATE_FILE)  # a backup that was restored, say
    finally:
        os.close(descriptor)
