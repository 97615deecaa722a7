"""Pairs of files, a chain and its key, as whoever renews them leaves them."""

import os
import stat
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from facaded.tls.server_certificate import ServerCertificate, UnusableError, parse

FILE_SIZE = 256 << 10
"""Bytes of a chain or a key that are read: far more than any has, so that a wrong path does not fill the memory."""

OTHERS = 0o007
"""What a key's mode must not grant."""

Signature: TypeAlias = tuple[tuple[int, ...] | None, ...]
"""What changes with a file, for chain and key; None for one that is not there."""


@frozen
class CertificateFiles:
    """Where a chain and its key are."""

    chain: Path
    key: Path


def sign(files: CertificateFiles) -> Signature:
    """Tell one state of the files from another.

    Symbolic links are followed, so that one that is swapped is noticed: certbot swaps those to the files, Kubernetes
    `..data` above them.
    """
    return _identity(files.chain), _identity(files.key)


def read(files: CertificateFiles) -> ServerCertificate:
    """Read the pair. Raises UnusableError."""
    chain, key = _content(files.chain), _content(files.key, secret=True)
    try:
        return parse(chain, key)
    except UnusableError as error:
        raise UnusableError(f"{files.chain}: {error}") from None


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _content(path: Path, secret: bool = False) -> bytes:
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnusableError(f"{path} is not a file: name one")
            if secret and found.st_mode & OTHERS:
                raise UnusableError(f"{path} can be read by others: chmod o= {path}")
            content = file.read(FILE_SIZE + 1)
    except OSError as error:
        raise UnusableError(f"{path} cannot be read ({error.strerror}): facaded's user or group needs to") from None
    if len(content) > FILE_SIZE:
        raise UnusableError(f"{path} is larger than {FILE_SIZE} bytes: is it the right file?")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """A named pipe would be waited for until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
