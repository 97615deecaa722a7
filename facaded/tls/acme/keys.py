"""An account's key, and what is signed with it (RFC 8555 §6.2: flattened JSON of RFC 7515, ES256)."""

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
"""The kind of key that every CA takes; `load` and `new` give no other curve."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


@frozen
class AccountKey:
    """An ECDSA P-256 key: every CA takes it, and it is made and used in no time."""

    key: P256Key = field(repr=False, eq=False)

    @classmethod
    def generate(cls) -> "AccountKey":
        return cls(new())

    @classmethod
    def load(cls, pem: bytes) -> "AccountKey":
        """Raises ValueError if this is no such key."""
        return cls(load(pem))

    def pem(self) -> bytes:
        return pem(self.key)

    def sign(self, url: str, payload: bytes, nonce: str, account: str | None) -> bytes:
        """A signed request to `url`: by the account's URL, or with the key itself if there is no account yet."""
        signer = {"kid": account} if account else {"jwk": self._public()}
        header = {"alg": "ES256", "nonce": nonce, "url": url, **signer}
        text = _signing_input(header, payload)
        return _flattened(text, ES256.sign(JWKEC(key=self.key).key, text))

    def bind(self, url: str, key_id: str, secret: bytes) -> Mapping[str, Any]:
        """That the holder of an account elsewhere has asked for this one (RFC 8555 §7.3.4)."""
        text = _signing_input({"alg": "HS256", "kid": key_id, "url": url}, _json(self._public()))
        signed = json.loads(_flattened(text, HS256.sign(secret, text)))
        assert isinstance(signed, dict)
        return signed

    def authorization(self, token: str) -> str:
        """The key authorization of a challenge (RFC 8555 §8.1)."""
        return f"{token}.{encoded(JWKEC(key=self.key).public_key().thumbprint())}"

    def _public(self) -> Mapping[str, Any]:
        public = JWKEC(key=self.key).public_key().to_json()
        assert isinstance(public, dict)
        return public


def new() -> P256Key:
    """A new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def load(text: bytes) -> P256Key:
    """The ECDSA P-256 key of a PEM text. Raises ValueError if there is none."""
    try:
        key = load_pem_private_key(text, None)
    except (ValueError, TypeError) as error:
        raise ValueError("no key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("no ECDSA P-256 key")
    return key


def pem(key: P256Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encoded(data: bytes) -> str:
    """Base64url without padding, as ACME has it everywhere."""
    return b64.b64encode(data).decode("ascii")


def decoded(text: str) -> bytes:
    """Bytes that are given in base64url, padded or not. Raises ValueError if the text is not in it."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    return b64.b64decode(text.rstrip("="))


def _signing_input(header: Mapping[str, Any], payload: bytes) -> bytes:
    return f"{encoded(_json(header))}.{encoded(payload)}".encode("ascii")


def _flattened(text: bytes, signature: bytes) -> bytes:
    protected, _, payload = text.decode("ascii").partition(".")
    return _json({"protected": protected, "payload": payload, "signature": encoded(signature)})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
