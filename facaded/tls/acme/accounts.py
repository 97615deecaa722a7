"""facaded's account at a CA (RFC 8555 §7.3): found, made, bound to another one, or made anew."""

from collections.abc import Callable, Mapping
from typing import Any

from facaded.tls.acme import documents, keys
from facaded.tls.acme.keys import AccountKey
from facaded.tls.acme.problems import AcmeError, AcmeProblemError
from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.acme.store import Account, AcmeStore
from facaded.tls.acme.wire import Signer, Wire

GONE = ("accountDoesNotExist", "unauthorized")
"""Problems that may mean that an account is gone: an unknown one (§7.3.1) and a deactivated one (§7.3.6)."""

SECRET_SIZE = 4096
"""Bytes read of eab_hmac_key_file; such keys have 32 or 64."""


class Accounts:
    """The account at one CA. `say` is called with a sentence when another one must be made."""

    def __init__(
        self, ca: CertificateAuthority, email: str | None, wire: Wire, store: AcmeStore, say: Callable[[str], None]
    ) -> None:
        self._ca = ca
        self._contact = f"mailto:{email}" if email else None
        self._wire = wire
        self._store = store
        self._say = say

    async def signer(self) -> Signer:
        """Who signs at this CA; the account is made if there is none. Raises AcmeError or StoreError."""
        kept = self._store.account(self._ca.directory)
        if kept is None:
            return await self._register(AccountKey.generate())
        if kept.url is None:
            return await self._find(kept.key)
        if kept.contact != self._contact:
            await self._tell_contact(Signer(kept.key, kept.url))
        return Signer(kept.key, kept.url)

    async def renew(self, signer: Signer) -> Signer | None:
        """Who signs instead, if this account is what the CA refuses; None if it is good.

        A CA that revokes or forgets an account says `unauthorized`, which has many other meanings: so it is asked
        for the account itself.
        """
        if await self._is_good(signer):
            return None
        return await self._replace()

    async def _is_good(self, signer: Signer) -> bool:
        assert signer.account is not None
        try:
            answer = await self._wire.post(signer, signer.account, None)
        except AcmeProblemError as error:
            if error.problem.kind in GONE:
                return False
            raise
        return documents.parse(answer.body).get("status") == "valid"

    async def _replace(self) -> Signer:
        self._say(f"{self._ca.directory}: the CA does not take facaded's account any more: a new one is made")
        self._store.retire_account(self._ca.directory)
        return await self._register(AccountKey.generate())

    async def _find(self, key: AccountKey) -> Signer:
        """The account of a key: it is found by it, or made (§7.3.1)."""
        try:
            return await self._register(key)
        except AcmeProblemError as error:
            if error.problem.kind not in GONE:
                raise
            return await self._replace()

    async def _register(self, key: AccountKey) -> Signer:
        url = (await self._wire.directory()).new_account
        wanted: dict[str, Any] = {"termsOfServiceAgreed": True, **self._contacts(), **await self._binding(key, url)}
        self._store.keep_account(self._ca.directory, Account(key))
        answer = await self._wire.post(Signer(key), url, wanted)
        account = documents.lawful(answer.value("Location"), "an account")
        self._store.keep_account(self._ca.directory, Account(key, account, self._contact))
        return Signer(key, account)

    async def _tell_contact(self, signer: Signer) -> None:
        """The settings name another address than the CA has (§7.3.2)."""
        assert signer.account is not None
        contacts = self._contacts() or {"contact": []}
        try:
            await self._wire.post(signer, signer.account, contacts)
        except AcmeProblemError as error:
            if error.problem.kind in GONE:  # the order will show whether the account is gone
                return
            raise
        self._store.keep_account(self._ca.directory, Account(signer.key, signer.account, self._contact))

    def _contacts(self) -> dict[str, Any]:
        return {"contact": [self._contact]} if self._contact else {}

    async def _binding(self, key: AccountKey, url: str) -> Mapping[str, Any]:
        """What binds this account to the one that the operator has at the CA (§7.3.4)."""
        if self._ca.eab_key_id is None or self._ca.eab_hmac_key_file is None:
            if (await self._wire.directory()).account_required:
                raise AcmeError(
                    f"{self._ca.directory}: this CA wants an account of yours: set eab_key_id and eab_hmac_key_file "
                    "in [[tls.acme.ca]] to what it has given you"
                )
            return {}
        return {"externalAccountBinding": key.bind(url, self._ca.eab_key_id, self._secret())}

    def _secret(self) -> bytes:
        assert self._ca.eab_hmac_key_file is not None
        try:
            with self._ca.eab_hmac_key_file.open("rb") as file:
                return keys.decoded(file.read(SECRET_SIZE).decode("ascii").strip())
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
        except ValueError:
            why = "does not hold a key in base64url, as CAs give it"
        raise AcmeError(f"eab_hmac_key_file: {self._ca.eab_hmac_key_file} {why}")
