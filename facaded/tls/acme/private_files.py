"""The files of one directory that only their owner can read, and the lock of the process that may change them.

Every file is created with access for its owner only, and replaced atomically: a reader sees the old or the new
content, even if the machine stops in between. A file with invalid content is renamed, and never overwritten. A file
that cannot be read, for example because too many files are open, stays in place.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from facaded.files import PRIVATE_DIRECTORY, PRIVATE_FILE, make_directory, read_regular, replace, set_aside

FILE_SIZE = 1 << 20
"""Bytes that are read of a file: the largest key and chain, for a hundred names, has about ten kilobytes."""

GROUP_AND_OTHERS = 0o077
"""The permission bits for everybody but the owner."""

NAME_LENGTH = 200
"""Characters of the first name in a directory's name: with the digest it must stay below the file system's 255."""

_REMEDIES = {
    errno.ENOSPC: "free some space on this file system",
    errno.EDQUOT: "free some space, or raise the quota of facaded's user",
    errno.EROFS: "mount this file system writable, or set another state.directory",
    errno.EMFILE: "raise LimitNOFILE of the unit, or ulimit -n",
    errno.ENFILE: "raise fs.file-max of this machine",
    errno.EIO: "check this disk: it reports errors",
}
_REMEDY = "make the directory writable for facaded only, or set another state.directory"

T = TypeVar("T")


class StoreError(Exception):
    """The directory cannot be used, so no certificate may be ordered. The text says why and what to do."""


class PrivateFiles:
    """Reads and writes files below `directory`. `warn` is called with a message when a file was renamed.

    All methods raise StoreError if the directory cannot be used.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self.directory = directory
        self._warn = warn

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock; yields False if another process has it. Only its holder may write."""
        with self.usable():
            _make_private(self.directory)
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with self.usable():
                has_lock = _lock(descriptor)
            yield has_lock
        finally:
            os.close(descriptor)

    def read(self, path: Path, parse: Callable[[bytes], T], size: int = FILE_SIZE) -> T | None:
        """Return the parsed content of a file, or None if it does not exist or is invalid. `size` is in bytes."""
        with self.usable():
            try:
                text = read_regular(path, size)
            except FileNotFoundError:
                return None
            try:
                return parse(text)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                renamed = set_aside(path, "unreadable", time.time())
            self._warn(f"{path} has invalid content: renamed to {renamed.name}")
            return None

    def write(self, path: Path, text: bytes) -> None:
        """Replace a file, two directories below `directory`."""
        with self.usable():
            for directory in (self.directory, path.parent.parent, path.parent):
                _make_private(directory)
            replace(path, text)

    def retire(self, path: Path) -> None:
        """Rename a file that is no longer valid, if it exists."""
        with self.usable():
            if os.path.lexists(path):
                set_aside(path, "retired", time.time())

    def remove(self, path: Path) -> None:
        """Remove a file, if it exists, and its directory, if that is empty then."""
        with self.usable():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()

    def matching(self, directory: Path, pattern: str) -> list[Path]:
        """Return the files below a directory whose path in it matches a pattern, in order."""
        with self.usable():
            return sorted(directory.glob(pattern))

    @contextlib.contextmanager
    def usable(self) -> Iterator[None]:
        """Turn an OSError into a StoreError that names the remedy."""
        try:
            yield
        except OSError as error:
            path = error.filename or self.directory
            remedy = _REMEDIES.get(error.errno or 0, _REMEDY)
            raise StoreError(
                f"{path}: {error.strerror or error}: certificates cannot be stored, so none is ordered; {remedy}"
            ) from None


def certificate_directory(root: Path, names: Sequence[str]) -> Path:
    """Return the directory of a set of names. Names have no underscore, so the digest after one is unambiguous."""
    ordered = sorted(names)
    is_whole = len(ordered) == 1 and len(ordered[0]) <= NAME_LENGTH
    suffix = "" if is_whole else f"_{digest(' '.join(ordered))}"
    return root / "certificates" / f"{ordered[0][:NAME_LENGTH]}{suffix}"


def digest(text: str) -> str:
    """Return a short digest, for the name of a file."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _make_private(directory: Path) -> None:
    """Create a directory with access for its owner only, or correct the mode of an existing one. Raises OSError."""
    make_directory(directory)
    if directory.stat().st_mode & GROUP_AND_OTHERS:
        directory.chmod(PRIVATE_DIRECTORY)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
