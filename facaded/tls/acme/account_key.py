"""The account key that signs requests (RFC 8555 §6.2: flattened JSON of RFC 7515, ES256)."""

import json
from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from josepy.jwa import ES256, HS256
from josepy.jwk import JWKEC

from facaded.tls.acme import keys
from facaded.tls.acme.keys import P256Key


@frozen
class AccountKey:
    """An ECDSA P-256 key: every CA accepts it, and generating it and signing with it are fast."""

    key: P256Key = field(repr=False, eq=False)

    @classmethod
    def generate(cls) -> "AccountKey":
        return cls(keys.new())

    @classmethod
    def load(cls, pem: bytes) -> "AccountKey":
        """Return the key of a PEM text. Raises ValueError if it is not an ECDSA P-256 key."""
        return cls(keys.load(pem))

    def pem(self) -> bytes:
        return keys.pem(self.key)

    def sign(self, url: str, payload: bytes, nonce: str, account: str | None) -> bytes:
        """Return a signed request to `url`. The signer is the account's URL, or the key itself without an account."""
        signer = {"kid": account} if account else {"jwk": self._public_jwk()}
        header = {"alg": "ES256", "nonce": nonce, "url": url, **signer}
        text = _signing_input(header, payload)
        return _flattened(text, ES256.sign(JWKEC(key=self.key).key, text))

    def bind(self, url: str, key_id: str, secret: bytes) -> Mapping[str, Any]:
        """Return the external account binding that the CA's `key_id` and `secret` authorize (RFC 8555 §7.3.4)."""
        text = _signing_input({"alg": "HS256", "kid": key_id, "url": url}, _json(self._public_jwk()))
        binding = json.loads(_flattened(text, HS256.sign(secret, text)))
        assert isinstance(binding, dict)
        return binding

    def key_authorization(self, token: str) -> str:
        """Return the key authorization of a challenge (RFC 8555 §8.1)."""
        return f"{token}.{keys.encode(JWKEC(key=self.key).public_key().thumbprint())}"

    def _public_jwk(self) -> Mapping[str, Any]:
        jwk = JWKEC(key=self.key).public_key().to_json()
        assert isinstance(jwk, dict)
        return jwk


def _signing_input(header: Mapping[str, Any], payload: bytes) -> bytes:
    return f"{keys.encode(_json(header))}.{keys.encode(payload)}".encode("ascii")


def _flattened(text: bytes, signature: bytes) -> bytes:
    protected, _, payload = text.decode("ascii").partition(".")
    return _json({"protected": protected, "payload": payload, "signature": keys.encode(signature)})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
