"""Files that survive a crash: replaced atomically, and set aside instead of overwritten if they cannot be read.

What is no file, such as a FIFO, is not read: to open one would wait for a writer.
"""

import errno
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600

SET_ASIDE = 100
"""Files of one name that may be set aside within one second. More are a sign of another fault."""


def make_directory(directory: Path) -> None:
    """Create a directory, and its parents, readable only by the owner. Raises OSError."""
    directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)


def read_regular(path: Path, limit: int) -> bytes:
    """Return the first `limit` bytes of a regular file. Never blocks. Raises OSError, also if it is no regular file."""

    def open_regular(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            return descriptor  # `open` refuses a directory itself
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", name)

    with open(path, "rb", opener=open_regular) as file:
        return file.read(limit)


def replace(path: Path, content: bytes) -> None:
    """Replace a file, readable only by the owner, atomically: after a power failure it has the old or the new content.

    Raises OSError; then the old file is unchanged.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # left by a killed process; O_EXCL follows no link that appears after this
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync(path.parent)


def set_aside(path: Path, reason: str, now: float) -> Path:
    """Rename a file to `NAME.REASON-TIME`, so that nothing overwrites it, and return its new path. Raises OSError.

    `now` is in seconds since the epoch.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    for count in range(SET_ASIDE):
        aside = path.with_name(f"{path.name}.{reason}-{stamp}{f'-{count}' if count else ''}")
        if not os.path.lexists(aside):
            return path.rename(aside)
    raise OSError(None, "too many files were set aside: remove them", str(path))


def _sync(directory: Path) -> None:
    """Write a directory's entries to disk, a renamed one included."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
