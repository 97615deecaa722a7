"""ECDSA P-256 keys, and base64url as everywhere in ACME."""

import base64
import re
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

P256Key: TypeAlias = ec.EllipticCurvePrivateKey
"""The type of key that every CA accepts; `load` and `new` return no other curve."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


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
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Return the bytes of a base64url text, padded or not. Raises ValueError if it is not base64url."""
    if not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    digits = text.rstrip("=")
    return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
