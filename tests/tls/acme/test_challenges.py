"""The answers to a CA's challenges."""

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from facaded.tls.acme import keys
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.challenges import OrderChallenges, challenge_certificate, rsa_key
from facaded.tls.server_certificate import PrivateKey
from tests.tls.acme.memory import NAME, RecordingResponder

RSA = rsa_key()


@pytest.mark.parametrize("key", [keys.new(), RSA], ids=["ECDSA", "RSA"])
def test_a_challenge_certificate_follows_rfc_8737(key: PrivateKey) -> None:
    certificate = x509.load_pem_x509_certificate(challenge_certificate(NAME, "token.thumbprint", key))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(NAME)]
    proof = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    assert isinstance(proof.value, x509.UnrecognizedExtension)
    assert proof.value.value == b"\x04\x20" + hashlib.sha256(b"token.thumbprint").digest()
    assert certificate.not_valid_before_utc < datetime.now(UTC) < certificate.not_valid_after_utc
    certificate.verify_directly_issued_by(certificate)
    assert certificate.public_key() == key.public_key()


def test_published_answers_are_withdrawn() -> None:
    responder = RecordingResponder()
    challenges = OrderChallenges(responder)
    challenges.publish(ChallengeKind.HTTP, NAME, "token", "token.thumbprint")
    challenges.publish(ChallengeKind.TLS_ALPN, NAME, "token", "token.thumbprint")
    assert responder.http == {"token": "token.thumbprint"}
    keys_used = [x509.load_pem_x509_certificate(pem).public_key() for pem in responder.alpn[NAME]]
    assert isinstance(keys_used[0], rsa.RSAPublicKey)
    assert not isinstance(keys_used[1], rsa.RSAPublicKey)
    challenges.withdraw()
    challenges.withdraw()
    assert (responder.http, responder.alpn) == ({}, {})
