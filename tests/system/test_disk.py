"""A full disk: the daemon continues and reports it, and the next start reads an undamaged state file."""

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
    """Fill a file system to the last byte; return the file that fills it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    return filler


def test_a_full_disk_loses_only_the_change_that_could_not_be_written(small_disk: Path, tmp_path: Path) -> None:
    main, second = Registry("127.0.0.2").start(), Registry("127.0.0.3").start()
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    with running(daemon, main, second):
        daemon.start()
        assert daemon.run("pin", "second").stdout == "second is active: it is pinned\n"
        filler = fill(small_disk)
        pinned = daemon.run("pin", "main")
        assert "warning: the state cannot be written, so a restart undoes this: see the log" in pinned.stdout
        assert daemon.backend == "main", "the pin must hold until a restart"
        daemon.wait_until(lambda: "cannot be written (No space left on device)" in daemon.log, "the log has it")
        daemon.kill()
        daemon.start()
        assert daemon.status()["why"] == "second is active: it is pinned", "the last pin written to disk"
        filler.unlink()
        daemon.run("pin", "main")
        daemon.kill()
        daemon.start()
        assert daemon.status()["why"] == "main is active: it is pinned"
        assert "set aside" not in daemon.log


def test_the_daemon_starts_on_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    main, second = Registry("127.0.0.2").start(), Registry("127.0.0.3").start()
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    fill(small_disk)
    with running(daemon, main, second):
        daemon.start()
        assert daemon.backend == "main"
        daemon.wait_until(lambda: "cannot be written (No space left on device)" in daemon.log, "the log has it")
