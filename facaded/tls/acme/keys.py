"""ECDSA keys, and the account key that signs requests (RFC 8555 §6.2: flattened JSON of RFC 7515, ES256)."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from josepy import b64
from josepy.jwa import ES256, HS256
from josepy.jwk import JWKEC

P256Key: TypeAlias = ec.EllipticCurvePrivateKey
"""The type of key that every CA accepts; `load` and `new` return no other curve."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


@frozen
class AccountKey:
    """An ECDSA P-256 key: every CA accepts it, and generating it and signing with it are fast."""

    key: P256Key = field(repr=False, eq=False)

    @classmethod
    def generate(cls) -> "AccountKey":
        return cls(new())

    @classmethod
    def load(cls, pem: bytes) -> "AccountKey":
        """Return the key of a PEM text. Raises ValueError if it is not an ECDSA P-256 key."""
        return cls(load(pem))

    def pem(self) -> bytes:
        return pem(self.key)

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
        return f"{token}.{encode(JWKEC(key=self.key).public_key().thumbprint())}"

    def _public_jwk(self) -> Mapping[str, Any]:
        jwk = JWKEC(key=self.key).public_key().to_json()
        assert isinstance(jwk, dict)
        return jwk


def new() -> P256Key:
    """Return a new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def load(text: bytes) -> P256Key:
    """Return the ECDSA P-256 key of a PEM text. Raises ValueError if there is none."""
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise ValueError("not a key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not an ECDSA P-256 key")
    return key


def pem(key: P256Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encode(data: bytes) -> str:
    """Return bytes in base64url without padding, as everywhere in ACME."""
    return b64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of a base64url text, padded or not. Raises ValueError if it is not base64url."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return b64.b64decode(text.rstrip("="))


def _signing_input(header: Mapping[str, Any], payload: bytes) -> bytes:
    return f"{encode(_json(header))}.{encode(payload)}".encode("ascii")


def _flattened(text: bytes, signature: bytes) -> bytes:
    protected, _, payload = text.decode("ascii").partition(".")
    return _json({"protected": protected, "payload": payload, "signature": encode(signature)})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
