"""A chain and its key, read from PEM."""

import pytest
from cryptography.hazmat.primitives import serialization

from facaded.tls.server_certificate import CHAIN_LENGTH, UnusableError, parse
from tests.tls.authority import DAY, NOW, Authority, rsa_key

NAMES = ("docker.lab.test", "*.lab.test")


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_what_a_chain_says_of_itself_is_read(authority: Authority, kind: str) -> None:
    pem = authority.issue(*NAMES, key=rsa_key() if kind == "RSA" else None)
    found = parse(*pem)
    assert (found.names, found.issuer, found.identifier) == (NAMES, "Lab CA", None)
    assert (found.life.begins, found.life.ends) == ((NOW - DAY).timestamp(), (NOW + 90 * DAY).timestamp())
    assert (found.chain_pem, found.key_pem) == pem
    assert found == parse(*pem)
    assert len(found.chain) == 2


def test_one_certificate_is_told_from_another(authority: Authority) -> None:
    one, other = authority.certificate(*NAMES), authority.certificate(*NAMES)
    assert one != other
    assert one.fingerprint != other.fingerprint


def test_neither_key_nor_chain_is_in_its_text(authority: Authority) -> None:
    text = repr(authority.certificate(*NAMES))
    assert "docker.lab.test" in text
    assert "key" not in text
    assert "chain" not in text


def test_an_encrypted_key_is_refused_with_the_remedy(authority: Authority) -> None:
    chain, key = authority.issue(*NAMES)
    encrypted = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(UnusableError, match="without a passphrase"):
        parse(chain, encrypted)


def test_a_chain_that_is_too_long_is_refused(authority: Authority) -> None:
    chain, key = authority.issue(*NAMES)
    with pytest.raises(UnusableError, match=f"more than {CHAIN_LENGTH} certificates"):
        parse(chain * CHAIN_LENGTH, key)
