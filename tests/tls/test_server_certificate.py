"""Parsing a chain and its key from PEM."""

import pytest
from cryptography.hazmat.primitives import serialization

from facaded.tls.server_certificate import CHAIN_LENGTH, UnusableError, parse
from tests.tls.authority import DAY, NOW, Authority, rsa_key

NAMES = ("docker.lab.test", "*.lab.test")


@pytest.mark.parametrize("kind", ["ECDSA", "RSA"])
def test_the_fields_are_read_from_the_chain(authority: Authority, kind: str) -> None:
    pem = authority.issue(*NAMES, key=rsa_key() if kind == "RSA" else None)
    certificate = parse(*pem)
    assert (certificate.names, certificate.issuer, certificate.identifier) == (NAMES, "Lab CA", None)
    assert (certificate.validity.start, certificate.validity.end) == (
        (NOW - DAY).timestamp(),
        (NOW + 90 * DAY).timestamp(),
    )
    assert (certificate.chain_pem, certificate.key_pem) == pem
    assert certificate == parse(*pem)
    assert len(certificate.chain) == 2


def test_two_certificates_for_the_same_names_differ(authority: Authority) -> None:
    first, second = authority.certificate(*NAMES), authority.certificate(*NAMES)
    assert first != second
    assert first.fingerprint != second.fingerprint


def test_repr_contains_neither_key_nor_chain(authority: Authority) -> None:
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
