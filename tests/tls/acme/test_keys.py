"""Signatures, bindings and key authorizations, against what the RFCs print."""

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
from facaded.tls.acme.keys import AccountKey

KEY = AccountKey.generate()
URL = "https://ca.test/order"


def part(text: str) -> object:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_request_is_signed_over_its_nonce_its_url_and_its_account() -> None:
    signed = json.loads(KEY.sign(URL, b'{"a":1}', "nonce", "https://ca.test/account/1"))
    assert set(signed) == {"protected", "payload", "signature"}
    assert part(signed["protected"]) == {
        "alg": "ES256",
        "nonce": "nonce",
        "url": URL,
        "kid": "https://ca.test/account/1",
    }
    assert part(signed["payload"]) == {"a": 1}
    text = f"{signed['protected']}.{signed['payload']}".encode()
    assert ES256.verify(JWKEC(key=KEY.key.public_key()).key, text, keys.decoded(signed["signature"]))


def test_without_an_account_the_key_itself_is_shown_and_nothing_secret_of_it() -> None:
    header = part(json.loads(KEY.sign(URL, b"", "nonce", None))["protected"])
    assert isinstance(header, dict)
    assert set(header) == {"alg", "nonce", "url", "jwk"}
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}


def test_an_account_elsewhere_is_bound_by_its_secret() -> None:
    bound = KEY.bind(URL, "kid-1", b"secret")
    assert part(bound["protected"]) == {"alg": "HS256", "kid": "kid-1", "url": URL}
    text = f"{bound['protected']}.{bound['payload']}".encode()
    assert keys.decoded(bound["signature"]) == hmac.new(b"secret", text, hashlib.sha256).digest()


def test_a_key_authorization_ends_with_the_key_s_thumbprint() -> None:
    """RFC 7638 §3: the members in the order of their names, without spaces."""
    numbers = KEY.key.public_key().public_numbers()
    x, y = (keys.encoded(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    assert KEY.authorization("token") == f"token.{keys.encoded(hashlib.sha256(text.encode()).digest())}"


def test_a_key_is_loaded_as_it_was_kept() -> None:
    assert AccountKey.load(KEY.pem()).key.private_numbers() == KEY.key.private_numbers()


def test_a_key_of_another_kind_is_none() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        kind = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        with pytest.raises(ValueError, match="no ECDSA P-256 key"):
            AccountKey.load(key.private_bytes(serialization.Encoding.PEM, *kind))


def test_a_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(KEY)
    assert str(KEY.key.private_numbers().private_value) not in repr(KEY)


@given(st.binary(min_size=1))
def test_base64url_goes_both_ways_padded_or_not(data: bytes) -> None:
    assert keys.decoded(keys.encoded(data)) == data
    assert keys.decoded(base64.urlsafe_b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["", "a+b=", "a/b", "a b", "äöü", "====", "a"])
def test_what_is_not_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # its words are a library's
        keys.decoded(text)
