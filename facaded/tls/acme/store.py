"""The files of the ACME client: accounts, ledgers, certificates, and orders in flight.

    DIRECTORY/lock
    DIRECTORY/accounts/CA/account.pem           the account's key
    DIRECTORY/accounts/CA/account.json          its URL, the contact that the CA has, and the external account
    DIRECTORY/accounts/CA/ledger.json           what the CA refused, issued and limited, by name
    DIRECTORY/certificates/NAME/certificate.pem key and chain, in one file so that they always match
    DIRECTORY/certificates/NAME/order_CA.json   an order in flight at a CA, with the key of the certificate to come

Version 0.1.0 had DIRECTORY/certificates/NAME/progress.json instead of the ledgers: see `earlier_progress`.
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, frozen

from facaded.net.json_documents import InvalidDocumentError, from_object, to_json
from facaded.net.json_objects import read_object
from facaded.net.text import printable
from facaded.tls.acme import documents, earlier_progress, issued_certificate
from facaded.tls.acme.account_key import AccountKey
from facaded.tls.acme.earlier_progress import EarlierProgress
from facaded.tls.acme.ledger import CaLedger, OrderHistory
from facaded.tls.acme.order_files import OrderFiles
from facaded.tls.acme.private_files import PrivateFiles, certificate_directory, digest
from facaded.tls.server_certificate import ServerCertificate

LEDGER_SIZE = 16 << 20
"""Bytes that are read of a ledger; one with the most certificates, each with the longest error, has 10 MiB."""

LEDGER_VALUES = 1_000_000
"""Values in a ledger that are read, at most: see `json_objects.MOST_VALUES`."""

ERROR_LENGTH = 8000
"""Characters that are read of the last error at a CA."""

_KEY_END = b"-----END PRIVATE KEY-----\n"


@frozen
class Account:
    """An account at a CA: its key, its URL once it is registered, and the contact that the CA has.

    `refused_contact` is a contact that the CA has refused. `binding` identifies the external account that it was bound
    to, None if to none or if a version before 0.2 registered it.
    """

    key: AccountKey
    url: str | None = None
    contact: str | None = None
    refused_contact: str | None = None
    binding: str | None = None


class AcmeStore:
    """Reads and writes the files in `directory`. `warn` is called with a message when a file was renamed.

    `orders` has the orders in flight. All methods raise StoreError if the directory cannot be used.
    """

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self.files = PrivateFiles(directory, warn)
        self.orders = OrderFiles(self.files)

    def locked(self) -> AbstractContextManager[bool]:
        """Hold the lock; yields False if another daemon with the same directory has it. Only its holder may order."""
        return self.files.locked()

    def account(self, ca: str) -> Account | None:
        """Return the account at the CA with this directory URL, or None."""
        directory = self._account_directory(ca)
        key = self.files.read(directory / "account.pem", AccountKey.load)
        if key is None:
            return None
        path = directory / "account.json"
        return self.files.read(path, lambda text: _read_account(key, _document(text))) or Account(key)

    def save_account(self, ca: str, account: Account) -> None:
        """Write an account, the key first: the CA finds the account by its key, but the key cannot be recovered."""
        directory = self._account_directory(ca)
        self.files.write(directory / "account.pem", account.key.pem())
        document = {
            "directory": ca,
            "url": account.url,
            "contact": account.contact,
            "refused_contact": account.refused_contact,
            "binding": account.binding,
        }
        self.files.write(directory / "account.json", _json(document))

    def retire_account(self, ca: str) -> None:
        """Rename the files of an account that the CA no longer accepts."""
        for name in ("account.pem", "account.json"):
            self.files.retire(self._account_directory(ca) / name)

    def ledgers(self) -> list[CaLedger]:
        """Return the stored ledgers of all CAs, also of those that have left the settings."""
        paths = self.files.matching(self.files.directory / "accounts", "*/ledger.json")
        ledgers = (self.files.read(path, _read_ledger, LEDGER_SIZE) for path in paths)
        return [ledger for ledger in ledgers if ledger is not None]

    def save_ledger(self, ledger: CaLedger) -> None:
        self.files.write(self._account_directory(ledger.ca) / "ledger.json", _json(to_json(ledger)))

    def certificate(self, names: Sequence[str]) -> ServerCertificate | None:
        """Return the stored certificate for these names, or None."""
        path = self.directory_of(names) / "certificate.pem"
        return self.files.read(path, lambda text: _read_certificate(text, names))

    def save_certificate(self, names: Sequence[str], certificate: ServerCertificate) -> None:
        path = self.directory_of(names) / "certificate.pem"
        self.files.write(path, certificate.key_pem + certificate.chain_pem)

    def stamp(self, names: Sequence[str]) -> object:
        """Return a value that changes whenever another daemon has stored a new certificate for these names."""
        with contextlib.suppress(OSError):
            # NFS shows the attributes of another machine's file as soon as the file is opened, and else seconds later.
            descriptor = os.open(
                self.directory_of(names) / "certificate.pem", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
            try:
                status = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            return (status.st_ino, status.st_mtime_ns, status.st_size)
        return None

    def earlier_progress(self, names: Sequence[str]) -> EarlierProgress | None:
        """Return what version 0.1.0 stored of the attempts for these names, or None."""
        path = self.directory_of(names) / "progress.json"
        return self.files.read(path, lambda text: earlier_progress.read(_document(text)))

    def discard_earlier_progress(self, names: Sequence[str]) -> None:
        """Remove it, once the ledgers have it."""
        self.files.remove(self.directory_of(names) / "progress.json")

    def directory_of(self, names: Sequence[str]) -> Path:
        """Return the directory of the certificate with these names."""
        return certificate_directory(self.files.directory, names)

    def _account_directory(self, ca: str) -> Path:
        """Return the directory of a CA's account; its name starts with the CA's host, for people who inspect it."""
        host = urlsplit(ca).hostname or ""
        safe = "".join(character if character.isalnum() or character in ".-" else "_" for character in host)
        return self.files.directory / "accounts" / f"{safe[:100]}_{digest(ca)}"


def _document(text: bytes) -> Mapping[str, Any]:
    document = read_object(text)
    if document is None:
        raise ValueError("not a JSON object")
    return document


def _read_account(key: AccountKey, document: Mapping[str, Any]) -> Account:
    url, texts = document["url"], [document["contact"], document.get("refused_contact"), document.get("binding")]
    if not all(isinstance(text, str | None) for text in texts):
        raise TypeError("not a contact")
    return Account(key, url if documents.is_usable_url(url) else None, *texts)


def _read_ledger(text: bytes) -> CaLedger:
    document = read_object(text, LEDGER_VALUES)
    try:
        ledger = from_object(document, CaLedger)
    except InvalidDocumentError as error:
        raise ValueError(str(error)) from None
    if ledger.schema != CaLedger(ca="").schema:
        raise ValueError("a ledger of a newer version")
    return evolve(ledger, orders={key: _with_safe_error(history) for key, history in ledger.orders.items()})


def _with_safe_error(history: OrderHistory) -> OrderHistory:
    if history.error is None:
        return history
    return evolve(history, error=printable(history.error, ERROR_LENGTH))


def read_pair(text: bytes) -> ServerCertificate:
    """Return the certificate of a key and a chain in one file. Raises ValueError if they are invalid."""
    key, end, chain = text.partition(_KEY_END)
    return issued_certificate.read(chain, key + end)


def _read_certificate(text: bytes, names: Sequence[str]) -> ServerCertificate:
    certificate = read_pair(text)
    if frozenset(certificate.names) != frozenset(names):
        raise ValueError("a certificate for other names")
    return certificate


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"
