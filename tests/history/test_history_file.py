"""The file of the history: what is written is read, and its size is bounded with all that SQLite writes beside it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from facaded.history.history_file import (
    MOST_CHANGES,
    NAME,
    ROWS_PER_DAY,
    UNPROVEN_PER_DAY,
    VERSION,
    DamagedFileError,
    HistoryFile,
    NewerFileError,
    is_damage,
    set_aside,
)
from facaded.history.past import DAY, HistoryBatch, MinuteCount, PastChange
from facaded.history.queries import (
    MOST_CHANGES_READ,
    PastCondition,
    PullSum,
    read_changes,
    read_conditions,
    read_pulls,
    read_requests,
)
from facaded.history.retention import DOUBT
from facaded.oci.clients import Family
from facaded.policy.pull_kinds import PullKey, PullKind
from facaded.web.answered_requests import Outcome
from tests.history.recording import NOON, SIZE, TODAY, place, pull

MINUTE_OF_NOON = int(NOON // 60)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[HistoryFile]:
    file = HistoryFile(place(tmp_path))
    yield file
    file.close()


def change(at: float, kind: str = "down", backend: str = "main", text: str = "main is down") -> PastChange:
    return PastChange(at, kind, "warning", backend, text)


def add_pulls(file: HistoryFile, *pulls: tuple[PullKey, int], at: float = NOON) -> None:
    file.write(HistoryBatch(at, pulls=pulls))


def images(file: HistoryFile, first_day: int = 0) -> dict[str, int]:
    return {row.name: row.pulls for row in file.read(lambda connection: read_pulls(connection, first_day)).images}


def test_changes_are_read_latest_first_and_since_a_time(file: HistoryFile) -> None:
    changes = [change(NOON + number, text=f"change {number}") for number in range(5)]
    file.write(HistoryBatch(NOON, tuple(changes)))
    assert file.read(lambda connection: read_changes(connection, NOON + 3)) == (changes[4], changes[3])
    assert file.read(lambda connection: read_changes(connection, 0, 2)) == (changes[4], changes[3])


def test_of_many_changes_the_oldest_are_deleted(file: HistoryFile) -> None:
    many = tuple(change(NOON + number, text=str(number)) for number in range(MOST_CHANGES + 10))
    file.write(HistoryBatch(NOON, many))
    (count, first) = file.read(
        lambda connection: connection.execute("SELECT count(*), min(at) FROM changes").fetchone()
    )
    assert (count, first) == (MOST_CHANGES, NOON + 10)


def test_the_text_of_a_change_is_bounded() -> None:
    assert len(change(0, text="x" * 5000).text) == 1000


def test_the_condition_of_each_backend_is_read_from_before_the_time_on(file: HistoryFile) -> None:
    file.write(
        HistoryBatch(
            NOON,
            (
                change(NOON - 9, "started", ""),
                change(NOON - 8, "up", "main"),
                change(NOON - 7, "down", "main"),
                change(NOON - 6, "override", "", "main is pinned"),
                change(NOON + 1, "drift", "main"),
                change(NOON + 2, "up", "main"),
                change(NOON + 3, "degraded", "second"),
                change(NOON + 4, "stopped", ""),
            ),
        )
    )
    assert file.read(lambda connection: read_conditions(connection, NOON)) == {
        "": (PastCondition(NOON - 9, "started"), PastCondition(NOON + 4, "stopped")),
        "main": (PastCondition(NOON - 7, "down"), PastCondition(NOON + 2, "up")),
        "second": (PastCondition(NOON + 3, "degraded"),),
    }


def test_of_too_many_conditions_the_latest_are_read(file: HistoryFile) -> None:
    kinds = ("up", "down")
    many = [change(NOON + number, kinds[number % 2], "main") for number in range(MOST_CHANGES_READ + 10)]
    steady = change(NOON + 3, "degraded", "second")
    file.write(HistoryBatch(NOON, (change(NOON - 1, "limited", "main"), *many, steady)))
    rows = file.read(lambda connection: read_conditions(connection, NOON))
    assert [row.at for row in rows["main"]] == [one.at for one in many[9:]], "with what was in force before them"
    assert rows["second"] == (PastCondition(NOON + 3, "degraded"),)


def test_requests_of_a_minute_are_added_up(file: HistoryFile) -> None:
    earlier = MinuteCount(MINUTE_OF_NOON - 1, "served", "containers", 5)
    now = MinuteCount(MINUTE_OF_NOON, "redirected", "docker", 2)
    file.write(HistoryBatch(NOON, requests=(earlier, now)))
    file.write(HistoryBatch(NOON, requests=(now,)))
    both = MinuteCount(MINUTE_OF_NOON, "redirected", "docker", 4)
    assert file.read(lambda connection: read_requests(connection, NOON - 60)) == (both, earlier)
    assert file.read(lambda connection: read_requests(connection, NOON)) == (both,)


def test_pulls_are_read_by_image_tag_family_and_day(file: HistoryFile) -> None:
    podman = pull()._replace(family=Family.CONTAINERS)
    add_pulls(file, (pull(), 1), at=NOON - DAY)
    add_pulls(file, (pull(), 2), (podman, 4), (pull("v2"), 8), (pull("v1", "org/other"), 16))
    add_pulls(file, (pull("", kind=PullKind.SIGNATURE), 32), (pull("v1", kind=PullKind.CHECK), 64), (pull(), 1))
    totals = file.read(lambda connection: read_pulls(connection, TODAY - 1))
    assert totals.whole == PullSum("", 32, 64, 32)
    assert totals.images == (PullSum("org/app", 16, 64, 32), PullSum("org/other", 16))
    assert totals.families == (PullSum("docker", 28, 64, 32), PullSum("containers", 4))
    assert totals.days == (PullSum("2024-10-03", 1), PullSum("2024-10-04", 31, 64, 32))
    of_app = file.read(lambda connection: read_pulls(connection, TODAY, "org/app"))
    assert of_app.images == (PullSum("v2", 8), PullSum("v1", 7, 64), PullSum("", 0, 0, 32))
    of_tag = file.read(lambda connection: read_pulls(connection, TODAY, "org/app", "v2"))
    assert (of_tag.whole, of_tag.days) == (PullSum("", 8), (PullSum("2024-10-04", 8),))
    nothing = file.read(lambda connection: read_pulls(connection, TODAY, "org/none"))
    assert (nothing.whole, nothing.images, nothing.days) == (PullSum(""), (), ())


def test_a_batch_is_written_whole_or_not_at_all(file: HistoryFile) -> None:
    broken = MinuteCount(None, "served", "docker", 1)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        file.write(HistoryBatch(NOON, (change(NOON),), (broken,)))
    assert file.read(lambda connection: read_changes(connection, 0)) == ()


# Names that strangers make up


def test_names_that_no_backend_confirmed_have_few_rows_a_day(file: HistoryFile) -> None:
    add_pulls(file, *((pull(f"made-up-{n}", is_proven=False), 1) for n in range(UNPROVEN_PER_DAY + 7)))
    add_pulls(file, (pull("real"), 3), (pull("made-up-0", is_proven=False), 1))
    assert images(file) == {"org/app": UNPROVEN_PER_DAY + 1 + 3, "": 7}
    add_pulls(file, (pull("made-up", is_proven=False), 1), at=NOON + DAY)
    assert images(file, TODAY + 1) == {"org/app": 1}, "each day has its own"


def test_names_that_backends_confirmed_have_many_rows_a_day_also_after_a_restart(tmp_path: Path) -> None:
    for first in (0, ROWS_PER_DAY):
        file = HistoryFile(place(tmp_path))
        add_pulls(file, *((pull(f"v{n}"), 1) for n in range(first, first + ROWS_PER_DAY)))
        add_pulls(file, (pull("v0"), 1))
        file.close()
    file = HistoryFile(place(tmp_path))
    assert images(file) == {"org/app": ROWS_PER_DAY + 2, "": ROWS_PER_DAY}
    file.close()


# Days and bytes


def used(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_what_is_older_than_the_days_is_deleted(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path, days=3))
    for day in range(8):
        at = NOON + day * DAY
        minute = MinuteCount(int(at // 60), "served", "docker", 1)
        file.write(HistoryBatch(at, (change(at),), (minute,), ((pull(f"v{day}"), 1),)))
    since = NOON + 5 * DAY
    assert [one.at for one in file.read(lambda connection: read_changes(connection, 0))] == [
        since + 2 * DAY,
        since + DAY,
        since,
    ]
    assert [one.minute for one in file.read(lambda connection: read_requests(connection, 0))] == [
        int((since + number * DAY) // 60) for number in (2, 1, 0)
    ]
    assert [row.name for row in file.read(lambda connection: read_pulls(connection, 0)).days] == [
        "2024-10-09",
        "2024-10-10",
        "2024-10-11",
    ]
    file.close()


def days(file: HistoryFile) -> list[str]:
    return [row.name for row in file.read(lambda connection: read_pulls(connection, 0)).days]


def test_fewer_days_are_deleted_at_once_but_in_parts(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path, days=3000))
    for day in range(12):
        add_pulls(file, (pull(), 1), at=NOON + day * DAY)
    file.close()
    file = HistoryFile(place(tmp_path, days=3))
    for left in (8, 4, 3, 3):
        add_pulls(file, (pull("now"), 1), at=NOON + 11 * DAY)
        assert len(days(file)) == left
    file.close()


def test_after_a_jump_of_the_clock_nothing_is_deleted_for_an_hour(tmp_path: Path) -> None:
    seconds = Clock()
    file = HistoryFile(place(tmp_path, days=3), seconds.seconds)
    add_pulls(file, (pull(), 1), at=NOON)
    for jump in (1000, -1000):
        seconds.advance(DOUBT - 1)
        add_pulls(file, (pull(), 1), at=NOON + jump * DAY)
        assert "2024-10-04" in days(file)
    add_pulls(file, (pull(), 1), at=NOON)
    assert days(file) == ["2022-01-08", "2024-10-04", "2027-07-01"]
    file.close()
    file = HistoryFile(place(tmp_path, days=3), seconds.seconds)
    add_pulls(file, (pull(), 1), at=NOON)
    assert len(days(file)) == 3, "nor after a restart"
    seconds.advance(DOUBT)
    file.write(
        HistoryBatch(NOON, (change(NOON + 1000 * DAY),), (MinuteCount(MINUTE_OF_NOON * 2, "served", "docker", 1),))
    )
    assert days(file) == ["2024-10-04"]
    assert file.read(lambda connection: read_changes(connection, 0)) == ()
    assert file.read(lambda connection: read_requests(connection, 0)) == ()
    file.close()


def test_days_in_the_future_are_deleted_in_parts(tmp_path: Path) -> None:
    seconds = Clock()
    file = HistoryFile(place(tmp_path, days=3000), seconds.seconds)
    for day in range(10):
        add_pulls(file, (pull(), 1), at=NOON + day * DAY)
    add_pulls(file, (pull(), 1), at=NOON)
    for left in (6, 2, 2):
        seconds.advance(DOUBT)
        add_pulls(file, (pull(), 1), at=NOON)
        assert len(days(file)) == left, "tomorrow may be somewhere"
    file.close()


def test_a_file_that_is_full_of_the_future_goes_on(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path))
    long_name = "x" * 250
    for part in range(40):
        pulls = tuple((pull(f"{part}{n:0>120}", f"{long_name}{n % 9}"), 1) for n in range(500))
        file.write(HistoryBatch(NOON + part // 4 * DAY, pulls=pulls))
    for part in range(40):
        pulls = tuple((pull(f"{part}{n:0>120}", f"{long_name}{n % 9}"), 1) for n in range(500))
        file.write(HistoryBatch(NOON - (100 + part // 4) * DAY, pulls=pulls))
        assert used(tmp_path) <= SIZE
    file.close()


def test_the_longest_names_and_every_family_each_minute_stay_within_the_size(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path))
    largest, long_name = 0, "x" * 250
    for day in range(12):
        at = NOON + day * DAY
        for part in range(4):
            pulls = tuple((pull(f"{part}{n:0>120}", f"{long_name}{n % 9}"), 1) for n in range(500))
            file.write(HistoryBatch(at, pulls=pulls))
            largest = max(largest, used(tmp_path))
        first = int(at // DAY) * 1440
        for hour in range(0, 24, 4):
            minutes = range(first + hour * 60, first + hour * 60 + 240, 3)
            requests = (
                MinuteCount(minute, answer.word, family.value, 10)
                for minute in minutes
                for answer in Outcome
                for family in Family
            )
            file.write(HistoryBatch(at, (change(at, text="y" * 1000),), tuple(requests)))
            largest = max(largest, used(tmp_path))
    assert SIZE * 0.5 < largest <= SIZE
    days = [row.name for row in file.read(lambda connection: read_pulls(connection, 0)).days]
    assert len(days) >= 5, "requests are deleted first"
    assert days[-1] == "2024-10-15"
    file.close()
    assert used(tmp_path) <= SIZE


def test_changes_are_deleted_if_nothing_else_is_old(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path))
    for part in range(20):
        file.write(HistoryBatch(NOON, tuple(change(NOON, text=f"{part}{'z' * 990}") for _ in range(1000))))
    assert used(tmp_path) <= SIZE
    latest = file.read(lambda connection: read_changes(connection, 0, 1))
    assert latest[0].text.startswith("19z")
    file.close()


def test_a_smaller_size_shrinks_the_file(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path, size=3 * SIZE))
    for part in range(16):
        file.write(HistoryBatch(NOON, tuple(change(NOON, text=f"{part}{'z' * 990}") for _ in range(1000))))
    assert used(tmp_path) > SIZE
    file.close()
    file = HistoryFile(place(tmp_path))
    for _ in range(20):
        add_pulls(file, (pull(), 1))
    file.close()
    assert used(tmp_path) <= SIZE - (6 << 20)


def test_the_file_is_only_for_its_owner_and_for_one_process(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path / "state"))
    add_pulls(file, (pull(), 1))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()} == {0o600}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    other = sqlite3.connect(tmp_path / "state" / NAME, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM pulls")
    other.close()
    file.close()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [NAME], "the log is gone"


# Files that cannot be used


def test_a_file_of_a_newer_version_is_refused_unchanged(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path))
    file.read(lambda connection: connection.execute(f"PRAGMA user_version = {VERSION + 1}"))
    file.close()
    with pytest.raises(NewerFileError):
        HistoryFile(place(tmp_path))
    connection = sqlite3.connect(tmp_path / NAME)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
    connection.close()


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)


def test_a_damaged_file_is_noticed_when_it_is_opened(tmp_path: Path) -> None:
    file = HistoryFile(place(tmp_path))
    add_pulls(file, *((pull(f"v{n}"), 1) for n in range(500)))
    file.close()
    damage(tmp_path / NAME)
    with pytest.raises((DamagedFileError, sqlite3.DatabaseError)) as raised:
        HistoryFile(place(tmp_path))
    assert is_damage(raised.value)


def test_what_is_no_database_is_damage_and_what_is_no_file_is_not(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as raised:
        HistoryFile(place(tmp_path))
    assert is_damage(raised.value)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(OSError, match="Is a directory") as refused:
        HistoryFile(place(tmp_path))
    assert not is_damage(refused.value)


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    HistoryFile(place(tmp_path)).close()
    (tmp_path / NAME).chmod(0o644)
    file = HistoryFile(place(tmp_path))
    add_pulls(file, (pull(), 1))
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    file.close()


def test_text_that_is_no_unicode_is_replaced(file: HistoryFile) -> None:
    file.write(HistoryBatch(NOON, (change(NOON, text="main: \udcff\nis down"),)))
    (recorded,) = file.read(lambda connection: read_changes(connection, 0))
    assert recorded.text == "main: ??is down"


def test_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / NAME).symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        HistoryFile(place(tmp_path))


def test_of_files_that_are_set_aside_the_last_one_stays(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / NAME).write_text(str(number))
        (tmp_path / f"{NAME}-wal").write_text("log")
        aside = set_aside(place(tmp_path), "damaged", NOON + number)
    assert [path.name for path in tmp_path.iterdir()] == [aside.name] == [f"{NAME}.damaged-20241004T120002Z"]
    assert aside.read_text() == "2"
