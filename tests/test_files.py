"""Files that are replaced atomically and set aside."""

import os
from pathlib import Path

import pytest

from facaded.files import SET_ASIDE, make_directory, read_regular, replace, set_aside


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_a_file_and_its_directory(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_directory(tmp_path / "new")
        replace(tmp_path / "new" / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "file").stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"left by a process that was killed")
    replace(tmp_path / "file", b"old")
    replace(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"new"}


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "file.new").symlink_to(tmp_path / "victim")
    replace(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    replace(tmp_path / "file", b"old")
    (tmp_path / "file.new").mkdir()
    with pytest.raises(OSError, match=r"directory|permitted"):
        replace(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_file_set_aside_keeps_its_content_under_a_name_of_its_own(tmp_path: Path) -> None:
    names = set()
    for content in (b"one", b"two"):
        (tmp_path / "file").write_bytes(content)
        aside = set_aside(tmp_path / "file", "unreadable", 1_800_000_000.0)
        assert aside.name.startswith("file.unreadable-")
        assert aside.read_bytes() == content
        names.add(aside.name)
    assert len(names) == 2


def test_files_set_aside_are_bounded(tmp_path: Path) -> None:
    def set_many_aside() -> None:
        for _ in range(SET_ASIDE + 1):
            (tmp_path / "file").write_bytes(b"")
            set_aside(tmp_path / "file", "unreadable", 1_800_000_000.0)

    with pytest.raises(OSError, match="too many"):
        set_many_aside()
    assert (tmp_path / "file").exists()


def test_the_beginning_of_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "link", 3) == b"con"


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(tmp_path / "fifo", 3)
