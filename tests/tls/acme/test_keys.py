"""Signatures, bindings and key authorizations, compared with the RFCs."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from facaded.tls.acme import keys
from facaded.tls.acme.account_key import AccountKey

KEY = AccountKey.generate()
URL = "https://ca.test/order"


def decoded(text: str) -> object:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_the_signature_covers_nonce_url_and_account() -> None:
    signed = json.loads(KEY.sign(URL, b'{"a":1}', "nonce", "https://ca.test/account/1"))
    assert set(signed) == {"protected", "payload", "signature"}
    assert decoded(signed["protected"]) == {
        "alg": "ES256",
        "nonce": "nonce",
        "url": URL,
        "kid": "https://ca.test/account/1",
    }
    assert decoded(signed["payload"]) == {"a": 1}
    text = f"{signed['protected']}.{signed['payload']}".encode()
    assert ES256.verify(JWKEC(key=KEY.key.public_key()).key, text, keys.decode(signed["signature"]))


def test_without_an_account_the_header_has_only_the_public_key() -> None:
    header = decoded(json.loads(KEY.sign(URL, b"", "nonce", None))["protected"])
    assert isinstance(header, dict)
    assert set(header) == {"alg", "nonce", "url", "jwk"}
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}


def test_an_external_account_is_bound_by_its_secret() -> None:
    binding = KEY.bind(URL, "kid-1", b"secret")
    assert decoded(binding["protected"]) == {"alg": "HS256", "kid": "kid-1", "url": URL}
    text = f"{binding['protected']}.{binding['payload']}".encode()
    assert keys.decode(binding["signature"]) == hmac.new(b"secret", text, hashlib.sha256).digest()


def test_a_key_authorization_ends_with_the_thumbprint_of_the_key() -> None:
    """RFC 7638 §3: the members are ordered by name, without spaces."""
    numbers = KEY.key.public_key().public_numbers()
    x, y = (keys.encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert KEY.key_authorization("token") == f"token.{keys.encode(hashlib.sha256(text.encode()).digest())}"


def test_a_stored_key_is_loaded_unchanged() -> None:
    assert AccountKey.load(KEY.pem()).key.private_numbers() == KEY.key.private_numbers()


def test_a_key_of_another_type_is_rejected() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        options = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        with pytest.raises(ValueError, match="not an ECDSA P-256 key"):
            AccountKey.load(key.private_bytes(serialization.Encoding.PEM, *options))


def test_repr_does_not_contain_the_key() -> None:
    assert "PRIVATE" not in repr(KEY)
    assert str(KEY.key.private_numbers().private_value) not in repr(KEY)


@given(st.binary(min_size=1))
def test_base64url_round_trips_padded_or_not(data: bytes) -> None:
    assert keys.decode(keys.encode(data)) == data
    assert keys.decode(base64.urlsafe_b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["", "a+b=", "a/b", "a b", "äöü", "====", "a"])
def test_other_text_than_base64url_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the message is a library's
        keys.decode(text)
