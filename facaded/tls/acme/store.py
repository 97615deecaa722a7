"""The files of the ACME client: accounts, certificates, and the progress of the attempts.

    DIRECTORY/lock
    DIRECTORY/accounts/CA/account.pem           the account's key
    DIRECTORY/accounts/CA/account.json          its URL, and the contact that the CA has
    DIRECTORY/certificates/NAME/certificate.pem key and chain, in one file so that they always match
    DIRECTORY/certificates/NAME/progress.json

Every file is created with access for its owner only, and replaced atomically: a reader sees the old or the new
content, even if the machine stops in between. A file with invalid content is renamed, and never overwritten. A file
that cannot be read, for example because too many files are open, stays in place.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import asdict, frozen

from facaded.files import PRIVATE_DIRECTORY, PRIVATE_FILE, make_directory, read_regular, replace, set_aside
from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.tls.acme import documents, issued_certificate
from facaded.tls.acme.keys import AccountKey
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.server_certificate import ServerCertificate

FILE_SIZE = 1 << 20
"""Bytes that are read of a file: the largest, a chain for a hundred names, has about ten kilobytes."""

ERROR_LENGTH = 2000
"""Characters that are read of the last error: one message for each CA."""

NAME_LENGTH = 200
"""Characters of the first name in a directory's name: with the digest it must stay below the file system's 255."""

GROUP_AND_OTHERS = 0o077
"""The permission bits for everybody but the owner."""

_KEY_END = b"-----END PRIVATE KEY-----\n"

T = TypeVar("T")


class StoreError(Exception):
    """The directory cannot be used, so no certificate may be ordered. The text says why and what to do."""


@frozen
class Account:
    """An account at a CA: its key, its URL once it is registered, and the contact that the CA has."""

    key: AccountKey
    url: str | None = None
    contact: str | None = None


class AcmeStore:
    """Reads and writes the files in `directory`. `warn` is called with a message when a file was renamed.

    All methods raise StoreError if the directory cannot be used.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the lock; yields False if another daemon with the same directory has it. Only its holder may order."""
        with self._usable():
            _make_private(self._directory)
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with self._usable():
                has_lock = _lock(descriptor)
            yield has_lock
        finally:
            os.close(descriptor)

    def account(self, ca: str) -> Account | None:
        """Return the account at the CA with this directory URL, or None."""
        directory = self._account_directory(ca)
        key = self._read(directory / "account.pem", AccountKey.load)
        if key is None:
            return None
        return self._read(directory / "account.json", lambda text: _read_account(key, _document(text))) or Account(key)

    def save_account(self, ca: str, account: Account) -> None:
        """Write an account, the key first: the CA finds the account by its key, but the key cannot be recovered."""
        directory = self._account_directory(ca)
        self._write(directory / "account.pem", account.key.pem())
        document = {"directory": ca, "url": account.url, "contact": account.contact}
        self._write(directory / "account.json", _json(document))

    def retire_account(self, ca: str) -> None:
        """Rename the files of an account that the CA no longer accepts."""
        for name in ("account.pem", "account.json"):
            path = self._account_directory(ca) / name
            with self._usable():
                if os.path.lexists(path):
                    set_aside(path, "retired", time.time())

    def certificate(self, names: Sequence[str]) -> ServerCertificate | None:
        """Return the stored certificate for these names, or None."""
        return self._read(
            self._certificate_directory(names) / "certificate.pem", lambda text: _read_certificate(text, names)
        )

    def save_certificate(self, names: Sequence[str], certificate: ServerCertificate) -> None:
        self._write(self._certificate_directory(names) / "certificate.pem", certificate.key_pem + certificate.chain_pem)

    def stamp(self, names: Sequence[str]) -> object:
        """Return a value that changes whenever another daemon has stored a new certificate for these names."""
        with contextlib.suppress(OSError):
            status = (self._certificate_directory(names) / "certificate.pem").stat()
            return (status.st_ino, status.st_mtime_ns, status.st_size)
        return None

    def progress(self, names: Sequence[str]) -> OrderProgress:
        """Return the progress of the attempts for these names; the initial one if none is stored."""
        progress = self._read(
            self._certificate_directory(names) / "progress.json", lambda text: _read_progress(_document(text))
        )
        return progress or OrderProgress()

    def save_progress(self, names: Sequence[str], progress: OrderProgress) -> None:
        self._write(self._certificate_directory(names) / "progress.json", _json(asdict(progress)))

    def _account_directory(self, ca: str) -> Path:
        """Return the directory of a CA's account; its name starts with the CA's host, for people who inspect it."""
        host = urlsplit(ca).hostname or ""
        safe = "".join(character if character.isalnum() or character in ".-" else "_" for character in host)
        return self._directory / "accounts" / f"{safe[:100]}_{_digest(ca)}"

    def _certificate_directory(self, names: Sequence[str]) -> Path:
        """Return the directory of a set of names. Names have no underscore, so the digest after one is unambiguous."""
        ordered = sorted(names)
        is_whole = len(ordered) == 1 and len(ordered[0]) <= NAME_LENGTH
        digest = "" if is_whole else f"_{_digest(' '.join(ordered))}"
        return self._directory / "certificates" / f"{ordered[0][:NAME_LENGTH]}{digest}"

    def _read(self, path: Path, parse: Callable[[bytes], T]) -> T | None:
        """Return the parsed content of a file, or None if it does not exist or is invalid."""
        with self._usable():
            try:
                text = read_regular(path, FILE_SIZE)
            except FileNotFoundError:
                return None
            try:
                return parse(text)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                renamed = set_aside(path, "unreadable", time.time())
            self._warn(f"{path} has invalid content: renamed to {renamed.name}")
            return None

    def _write(self, path: Path, text: bytes) -> None:
        with self._usable():
            for directory in (self._directory, path.parent.parent, path.parent):
                _make_private(directory)
            replace(path, text)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = error.filename or self._directory
            raise StoreError(
                f"{path}: {error.strerror or error}: certificates cannot be stored, so none is ordered; "
                "make the directory writable for facaded only, or set another state.directory"
            ) from None


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


def _document(text: bytes) -> Mapping[str, Any]:
    document = read_object(text)
    if document is None:
        raise ValueError("not a JSON object")
    return document


def _read_account(key: AccountKey, document: Mapping[str, Any]) -> Account:
    url, contact = document["url"], document["contact"]
    if not isinstance(contact, str | None):
        raise TypeError("not a contact")
    return Account(key, url if documents.is_usable_url(url) else None, contact)


def _read_certificate(text: bytes, names: Sequence[str]) -> ServerCertificate:
    key, end, chain = text.partition(_KEY_END)
    certificate = issued_certificate.read(chain, key + end)
    if frozenset(certificate.names) != frozenset(names):
        raise ValueError("a certificate for other names")
    return certificate


def _read_progress(document: Mapping[str, Any]) -> OrderProgress:
    return OrderProgress(
        slow=_count(document["slow"]),
        early=_count(document["early"]),
        authorized=_count(document["authorized"]),
        not_before=_time(document["not_before"]),
        error=_text(document["error"]),
        error_at=_time_or_none(document["error_at"]),
        obtained=_time_or_none(document["obtained"]),
        ca=_text(document["ca"]),
        by_hand=document["by_hand"] is True,
        closed={str(ca): _time(at) for ca, at in document["closed"].items()},
        failed=_times(document["failed"]),
        extras=_times(document["extras"]),
    )


def _times(document: Mapping[Any, Any]) -> Mapping[str, tuple[float, ...]]:
    return {str(ca): tuple(_time(at) for at in times) for ca, times in document.items()}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("not a count")
    return value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= value < 1e11:
        raise ValueError("not a time")
    return float(value)


def _time_or_none(value: Any) -> float | None:
    return None if value is None else _time(value)


def _text(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError("not a string")
    return None if value is None else "".join(map(printable, value[:ERROR_LENGTH]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
