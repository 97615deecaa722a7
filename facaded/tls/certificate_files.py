"""Certificates in files: a PEM chain and its key, which another program renews."""

import errno
import os
import stat
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

from facaded.tls.server_certificate import ServerCertificate, UnusableError, parse

FILE_SIZE = 256 << 10
"""Bytes: the largest chain or key that is read. Real ones are far smaller; a wrong path must not fill the memory."""

OTHERS = 0o007
"""The permission bits that a key's mode must not have."""

Stamp: TypeAlias = tuple[tuple[int, ...] | None, ...]
"""Identifies the state of the chain and of the key on the disk; None for a file that does not exist."""


@frozen
class CertificateFiles:
    """The paths of a chain and its key."""

    chain: Path
    key: Path


def describe_open_key(path: Path) -> str:
    """Return the message about a key that others can read. Kubernetes mounts Secrets like that by default (0644)."""
    return (
        f"{path} can be read by others: chmod o= {path}, or for a Secret of Kubernetes, such as cert-manager's, set "
        "defaultMode: 0440 in its volume and fsGroup in the Pod's securityContext"
    )


def stamp(files: CertificateFiles) -> Stamp:
    """Return a value that differs whenever the files have changed.

    It follows symbolic links, because certbot replaces the links to the files, and Kubernetes the `..data` link above
    them.
    """
    return _file_stamp(files.chain), _file_stamp(files.key)


def read(files: CertificateFiles) -> ServerCertificate:
    """Return the certificate in the files. Raises UnusableError."""
    chain, key = _read_file(files.chain), _read_file(files.key, secret=True)
    try:
        return parse(chain, key)
    except UnusableError as error:
        raise UnusableError(f"{files.chain}: {error}") from None


def _file_stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_file(path: Path, secret: bool = False) -> bytes:
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UnusableError(f"{path} is not a regular file: name a PEM file")
            if secret and mode & OTHERS:
                raise UnusableError(describe_open_key(path))
            content = file.read(FILE_SIZE + 1)
    except OSError as error:
        in_kubernetes = ", in Kubernetes by the Pod's fsGroup" if error.errno == errno.EACCES else ""
        raise UnusableError(
            f"{path} cannot be read ({error.strerror}): let facaded's user or group read this file{in_kubernetes}"
        ) from None
    if len(content) > FILE_SIZE:
        raise UnusableError(f"{path} is larger than {FILE_SIZE} bytes: check the path")
    return content


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file; opening a named pipe would otherwise block until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
