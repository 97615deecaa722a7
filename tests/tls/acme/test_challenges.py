"""What a CA is shown."""

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from facaded.tls.acme import keys
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import OrderChallenges, challenge_certificate, rsa_key
from facaded.tls.server_certificate import PrivateKey
from tests.tls.acme.memory import NAME, Shown

RSA = rsa_key()


@pytest.mark.parametrize("key", [keys.new(), RSA], ids=["ECDSA", "RSA"])
def test_a_challenge_s_certificate_is_as_rfc_8737_has_it(key: PrivateKey) -> None:
    certificate = x509.load_pem_x509_certificate(challenge_certificate(NAME, "token.thumbprint", key))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(NAME)]
    found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert found.critical
    assert isinstance(found.value, x509.UnrecognizedExtension)
    assert found.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc
    certificate.verify_directly_issued_by(certificate)
    assert certificate.public_key() == key.public_key()


def test_what_is_shown_is_withdrawn() -> None:
    shown = Shown()
    answers = OrderChallenges(shown)
    answers.show(ChallengeKind.HTTP, NAME, "token", "token.thumbprint")
    answers.show(ChallengeKind.TLS_ALPN, NAME, "token", "token.thumbprint")
    assert shown.http == {"token": "token.thumbprint"}
    kinds = [x509.load_pem_x509_certificate(each).public_key() for each in shown.alpn[NAME]]
    assert isinstance(kinds[0], rsa.RSAPublicKey)
    assert not isinstance(kinds[1], rsa.RSAPublicKey)
    answers.withdraw()
    answers.withdraw()
    assert (shown.http, shown.alpn) == ({}, {})
