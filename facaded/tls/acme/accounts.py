"""facaded's account at a CA (RFC 8555 §7.3): registered, found by its key, bound to another account, or replaced."""

from collections.abc import Callable, Mapping
from typing import Any

from facaded.tls.acme import documents, keys
from facaded.tls.acme.keys import AccountKey
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
        signer = Signer(account.key, account.url)
        if account.contact != self._contact:
            await self._update_contact(signer)
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
        url = (await self._wire.directory()).new_account
        payload: dict[str, Any] = {"termsOfServiceAgreed": True, **self._contacts(), **await self._binding(key, url)}
        self._store.save_account(self._ca.directory, Account(key))
        response = await self._wire.post(Signer(key), url, payload)
        account = documents.check_url(response.value("Location"), "an account")
        self._store.save_account(self._ca.directory, Account(key, account, self._contact))
        return Signer(key, account)

    async def _update_contact(self, signer: Signer) -> None:
        """Send the email address of the settings, which differs from the one that the CA has (§7.3.2)."""
        assert signer.account is not None
        payload = self._contacts() or {"contact": []}
        try:
            await self._wire.post(signer, signer.account, payload)
        except AcmeProblemError as error:
            if error.problem.kind in ACCOUNT_REFUSED:  # the order will show whether the account still exists
                return
            raise
        self._store.save_account(self._ca.directory, Account(signer.key, signer.account, self._contact))

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
