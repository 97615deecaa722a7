"""Files that outlive a crash: written whole, and set aside rather than overwritten when they cannot be understood."""

import os
from datetime import UTC, datetime
from pathlib import Path

PRIVATE_DIRECTORY, PRIVATE_FILE = 0o700, 0o600

SET_ASIDE = 100
"""Files set aside under one name in one second. With more than that, something else is wrong."""


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, for its owner alone. Raises OSError."""
    directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole: a reader sees the old content or the new, whenever power fails.

    Raises OSError; then the old file is as it was.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # left by a process that was killed; O_EXCL follows no link that is put there since
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync(path.parent)


def set_aside(path: Path, why: str) -> Path:
    """Rename a file to `NAME.WHY-TIME`, so that nothing overwrites it, and return its new path. Raises OSError."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for count in range(SET_ASIDE):
        aside = path.with_name(f"{path.name}.{why}-{stamp}{f'-{count}' if count else ''}")
        if not os.path.lexists(aside):
            return path.rename(aside)
    raise OSError(None, "too many files that were set aside", str(path))


def _sync(directory: Path) -> None:
    """Have the disk keep the directory's names, the new one among them."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
