"""facaded's account at a CA (RFC 8555 §7.3): registered, found by its key, bound to another account, or replaced."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from facaded.tls.acme import documents, keys
from facaded.tls.acme.account_key import AccountKey
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.acme.store import Account, AcmeStore
from facaded.tls.acme.wire import Signer, Wire

ACCOUNT_REFUSED = ("accountDoesNotExist", "unauthorized")
"""Problems that may mean that an account no longer exists (§7.3.1) or was deactivated (§7.3.6)."""

SECRET_SIZE = 4096
"""Bytes that are read of eab_hmac_key_file; such keys have 32 or 64."""


class Accounts:
    """The account at one CA. `warn` is called with a message when the account has to be replaced."""

    def __init__(
        self, ca: CertificateAuthority, email: str | None, wire: Wire, store: AcmeStore, warn: Callable[[str], None]
    ) -> None:
        self._ca = ca
        self._contact = f"mailto:{email}" if email else None
        self._wire = wire
        self._store = store
        self._warn = warn

    async def signer(self) -> Signer:
        """Return the signer for this CA; register an account if there is none. Raises AcmeError or StoreError."""
        account = self._store.account(self._ca.directory)
        if account is None:
            return await self._register(AccountKey.generate())
        if account.url is None:
            return await self._find(account.key)
        if self._is_rebound(account):
            return await self._rebind(account)
        signer = Signer(account.key, account.url)
        if self._contact != account.contact and (self._contact is None or self._contact != account.refused_contact):
            await self._update_contact(signer, account)
        return signer

    async def recover(self, signer: Signer) -> Signer | None:
        """Return the signer of a new account if the CA refuses this one, or None if this one is valid.

        A CA that has revoked or forgotten an account answers `unauthorized`, which has many other meanings. So this
        asks for the account itself.
        """
        if await self._is_valid(signer):
            return None
        return await self._replace()

    async def _is_valid(self, signer: Signer) -> bool:
        assert signer.account is not None
        try:
            response = await self._wire.post(signer, signer.account, None)
        except AcmeProblemError as error:
            if error.problem.kind in ACCOUNT_REFUSED:
                return False
            raise
        return documents.parse(response.body).get("status") == "valid"

    async def _replace(self) -> Signer:
        self._warn(f"{self._ca.directory}: the CA no longer accepts facaded's account: registering a new one")
        self._store.retire_account(self._ca.directory)
        return await self._register(AccountKey.generate())

    async def _find(self, key: AccountKey) -> Signer:
        """Return the account that the CA has for a key, or register one (§7.3.1)."""
        try:
            return await self._register(key)
        except AcmeProblemError as error:
            if error.problem.kind not in ACCOUNT_REFUSED:
                raise
            return await self._replace()

    async def _register(self, key: AccountKey) -> Signer:
        """Register an account. Its key is saved before, because it cannot be recovered."""
        self._store.save_account(self._ca.directory, Account(key))
        account = await self._request_account(key)
        self._store.save_account(self._ca.directory, account)
        return Signer(key, account.url)

    async def _request_account(self, key: AccountKey) -> Account:
        url = (await self._wire.directory()).new_account
        payload: dict[str, Any] = {"termsOfServiceAgreed": True, **self._contacts(), **await self._binding(key, url)}
        response = await self._wire.post(Signer(key), url, payload)
        account = documents.check_url(response.value("Location"), "an account")
        return Account(key, account, self._contact, binding=self._binding_digest())

    def _is_rebound(self, account: Account) -> bool:
        """Return whether the settings name another external account than the one that this account is bound to."""
        if account.binding is None or self._ca.eab_hmac_key_file is None:
            return False
        try:
            return account.binding != self._binding_digest()
        except AcmeError as error:
            self._warn(f"{error}; the account at {self._ca.directory} stays as it is")
            return False

    async def _rebind(self, old: Account) -> Signer:
        """Register a new account for another external account; the old one stays if the CA refuses that."""
        assert old.url is not None
        try:
            account = await self._request_account(AccountKey.generate())
        except AcmeProblemError as error:
            self._warn(f"eab_key_id: {error}; the account at {self._ca.directory} stays bound to the previous one")
            return Signer(old.key, old.url)
        self._store.retire_account(self._ca.directory)
        self._store.save_account(self._ca.directory, account)
        return Signer(account.key, account.url)

    async def _update_contact(self, signer: Signer, account: Account) -> None:
        """Send the email address of the settings, which differs from the one that the CA has (§7.3.2).

        If the CA refuses the address, the account is as good as before.
        """
        assert signer.account is not None
        try:
            await self._wire.post(signer, signer.account, self._contacts() or {"contact": []})
        except AcmeProblemError as error:
            if error.may_be_repeated or error.problem.kind in ACCOUNT_REFUSED:
                return  # the order shows whether the account still exists
            self._warn(f"{error}; the account at {self._ca.directory} keeps its previous contact")
            account = evolve(account, refused_contact=self._contact)
        except AcmeError:
            return
        else:
            account = evolve(account, contact=self._contact, refused_contact=None)
        self._store.save_account(self._ca.directory, account)

    def _contacts(self) -> dict[str, Any]:
        return {"contact": [self._contact]} if self._contact else {}

    async def _binding(self, key: AccountKey, url: str) -> Mapping[str, Any]:
        """Return the binding of this account to the operator's account at the CA (§7.3.4), empty if there is none."""
        if self._ca.eab_key_id is None or self._ca.eab_hmac_key_file is None:
            if (await self._wire.directory()).account_required:
                raise AcmeError(
                    f"{self._ca.directory}: this CA requires an external account: set eab_key_id and "
                    "eab_hmac_key_file in [[tls.acme.ca]] to the values that the CA gave you"
                )
            return {}
        return {"externalAccountBinding": key.bind(url, self._ca.eab_key_id, self._read_secret())}

    def _binding_digest(self) -> str:
        """Return what identifies the external account of the settings; empty without one. Raises AcmeError."""
        if self._ca.eab_key_id is None or self._ca.eab_hmac_key_file is None:
            return ""
        return hashlib.sha256(f"{self._ca.eab_key_id}\0".encode() + self._read_secret()).hexdigest()[:16]

    def _read_secret(self) -> bytes:
        assert self._ca.eab_hmac_key_file is not None
        try:
            with self._ca.eab_hmac_key_file.open("rb") as file:
                return keys.decode(file.read(SECRET_SIZE).decode("ascii").strip())
        except OSError as error:
            message = f"cannot be read ({error.strerror}): check the path and its permissions"
        except ValueError:
            message = "does not contain a base64url key: copy the key from the CA"
        raise AcmeError(f"eab_hmac_key_file: {self._ca.eab_hmac_key_file} {message}")
