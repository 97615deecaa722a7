"""A disk that is full: the daemon goes on, says so, and the state is whole at the next start."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.daemon import FAST, Daemon, Registry, running


@pytest.fixture
def small_disk(needs: Callable[..., None], tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    needs("mount", "umount", root=True)
    disk = tmp_path / "state"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte on a file system; gives the file that has them."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return filler


def test_a_full_disk_loses_nothing_but_what_could_not_be_written(small_disk: Path, tmp_path: Path) -> None:
    main, second = Registry("127.0.0.2").start(), Registry("127.0.0.3").start()
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    with running(daemon, main, second):
        daemon.start()
        assert daemon.run("pin", "second").stdout == "second is active: it is pinned\n"
        filler = fill(small_disk)
        pinned = daemon.run("pin", "main")
        assert "warning: the state cannot be written, so a restart undoes this: see the log" in pinned.stdout
        assert daemon.backend == "main", "it is in force all the same"
        assert "the state cannot be written (No space left on device)" in daemon.log
        daemon.kill()
        daemon.start()
        assert daemon.status()["why"] == "second is active: it is pinned", "the last that was written"
        filler.unlink()
        daemon.run("pin", "main")
        daemon.kill()
        daemon.start()
        assert daemon.status()["why"] == "main is active: it is pinned"
        assert "set aside" not in daemon.log


def test_a_start_on_a_full_disk_is_a_start(small_disk: Path, tmp_path: Path) -> None:
    main, second = Registry("127.0.0.2").start(), Registry("127.0.0.3").start()
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    fill(small_disk)
    with running(daemon, main, second):
        daemon.start()
        assert daemon.backend == "main"
        assert "the state cannot be written (No space left on device)" in daemon.log
