"""What must outlive the daemon: accounts, certificates, and how far the attempts have come.

    DIRECTORY/lock
    DIRECTORY/accounts/CA/account.pem           the account's key
    DIRECTORY/accounts/CA/account.json          its URL, and what was said when it was made
    DIRECTORY/certificates/NAME/certificate.pem key and chain, in one file so that they always belong together
    DIRECTORY/certificates/NAME/progress.json

Every file is for its owner alone from its first byte, and written whole: a reader sees the old one or the new one,
whenever the machine stops. What was read and cannot be understood is set aside under another name, and never
overwritten; what cannot be read, as when there are too many open files, stays where it is.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from attrs import asdict, frozen

from facaded.files import PRIVATE_DIRECTORY, PRIVATE_FILE, make_directory, replace, set_aside
from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.tls.acme import documents, issued
from facaded.tls.acme.keys import AccountKey
from facaded.tls.acme.schedule import OrderProgress
from facaded.tls.server_certificate import ServerCertificate

FILE_SIZE = 1 << 20
"""Bytes of a file that are read: the largest, a chain for a hundred names, has some ten kilobytes."""

ERROR_LENGTH = 2000
"""Characters of the last error that are read: a sentence for each CA."""

NAME_LENGTH = 200
"""Characters of a certificate's first name that its directory has: with the rest it must stay below 255."""

OTHERS = 0o077
"""The bits of a mode that let group and others in."""

_KEY_END = b"-----END PRIVATE KEY-----\n"

T = TypeVar("T")


class StoreError(Exception):
    """Nothing can be kept, and so nothing may be ordered. The text says why and what to do."""


@frozen
class Account:
    """An account at a CA: its key, its URL once it is made, and the contact that the CA has."""

    key: AccountKey
    url: str | None = None
    contact: str | None = None


class AcmeStore:
    """What is kept in `directory`. `warn` is called with a sentence when something was set aside.

    All methods raise StoreError if the directory cannot be used.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Gives whether this process alone may order: another daemon may have the same directory."""
        with self._usable():
            _make_private(self._directory)
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            with self._usable():
                alone = _lock(descriptor)
            yield alone
        finally:
            os.close(descriptor)

    def account(self, ca: str) -> Account | None:
        """The account at the CA with this directory, if there is one."""
        directory = self._account_directory(ca)
        key = self._read(directory / "account.pem", AccountKey.load)
        if key is None:
            return None
        return self._read(directory / "account.json", lambda text: _read_account(key, _document(text))) or Account(key)

    def keep_account(self, ca: str, account: Account) -> None:
        """The key first: an account whose key is lost is of no use, but one can be found by its key."""
        directory = self._account_directory(ca)
        self._write(directory / "account.pem", account.key.pem())
        document = {"directory": ca, "url": account.url, "contact": account.contact}
        self._write(directory / "account.json", _json(document))

    def retire_account(self, ca: str) -> None:
        """The CA does not take this account any more: its files are set aside."""
        for name in ("account.pem", "account.json"):
            path = self._account_directory(ca) / name
            with self._usable():
                if os.path.lexists(path):
                    set_aside(path, "retired")

    def certificate(self, names: Sequence[str]) -> ServerCertificate | None:
        """The certificate that was kept for these names."""
        return self._read(
            self._certificate_directory(names) / "certificate.pem", lambda text: _read_certificate(text, names)
        )

    def keep_certificate(self, names: Sequence[str], certificate: ServerCertificate) -> None:
        self._write(self._certificate_directory(names) / "certificate.pem", certificate.key_pem + certificate.chain_pem)

    def stamp(self, names: Sequence[str]) -> object:
        """What changes when another daemon has kept another certificate for these names."""
        with contextlib.suppress(OSError):
            found = (self._certificate_directory(names) / "certificate.pem").stat()
            return (found.st_ino, found.st_mtime_ns, found.st_size)
        return None

    def progress(self, names: Sequence[str]) -> OrderProgress:
        """How far the attempts for these names have come; the beginning if nothing is kept."""
        found = self._read(
            self._certificate_directory(names) / "progress.json", lambda text: _read_progress(_document(text))
        )
        return found or OrderProgress()

    def keep_progress(self, names: Sequence[str], progress: OrderProgress) -> None:
        self._write(self._certificate_directory(names) / "progress.json", _json(asdict(progress)))

    def _account_directory(self, ca: str) -> Path:
        """A directory for each CA; its name begins with the CA's host, for a person who looks."""
        host = "".join(each if each.isalnum() or each in ".-" else "_" for each in urlsplit(ca).hostname or "")
        return self._directory / "accounts" / f"{host[:100]}_{_digest(ca)}"

    def _certificate_directory(self, names: Sequence[str]) -> Path:
        """A directory for each set of names; no name has an underscore, so that none is taken for another."""
        ordered = sorted(names)
        whole = len(ordered) == 1 and len(ordered[0]) <= NAME_LENGTH
        more = "" if whole else f"_{_digest(' '.join(ordered))}"
        return self._directory / "certificates" / f"{ordered[0][:NAME_LENGTH]}{more}"

    def _read(self, path: Path, understand: Callable[[bytes], T]) -> T | None:
        """What a file holds, or None if there is none, or none that can be understood."""
        with self._usable():
            try:
                with path.open("rb") as file:
                    text = file.read(FILE_SIZE)
            except FileNotFoundError:
                return None
            try:
                return understand(text)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                aside = set_aside(path, "unreadable")
            self._warn(f"{path} does not hold what it should: set aside as {aside.name}")
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
            place = error.filename or self._directory
            raise StoreError(
                f"{place}: {error.strerror or error}: certificates cannot be kept, so none is ordered; "
                "make the directory writable for facaded alone, or name another in state.directory"
            ) from None


def _make_private(directory: Path) -> None:
    """Make a directory for its owner alone; one that is open to others is closed to them. Raises OSError."""
    make_directory(directory)
    if directory.stat().st_mode & OTHERS:
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
        raise ValueError("no JSON object")
    return document


def _read_account(key: AccountKey, document: Mapping[str, Any]) -> Account:
    url, contact = document["url"], document["contact"]
    if not isinstance(contact, str | None):
        raise TypeError("not a contact")
    return Account(key, url if documents.is_lawful(url) else None, contact)


def _read_certificate(text: bytes, names: Sequence[str]) -> ServerCertificate:
    key, end, chain = text.partition(_KEY_END)
    certificate = issued.read(chain, key + end)
    if frozenset(certificate.names) != frozenset(names):
        raise ValueError("for other names")
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
        raise TypeError("not a text")
    return None if value is None else "".join(map(printable, value[:ERROR_LENGTH]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
