"""What a CA is shown so that it believes that a name leads here: http-01 (RFC 8555 §8.3), tls-alpn-01 (RFC 8737)."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from facaded.tls.acme import keys
from facaded.tls.acme.settings import Kind

ACME_TLS = b"acme-tls/1"
"""The ALPN protocol of tls-alpn-01 (RFC 8737 §6.2)."""

IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §6.1)."""

LIFE = timedelta(days=1)
"""How long before and after now a challenge's certificate is valid, whatever this machine's clock says."""

RSA_BITS = 2048

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Removal: TypeAlias = Callable[[], None]


class Responders(Protocol):
    """What answers challenges; the daemon is it. A remove may come for what was never added."""

    def add_http(self, token: str, key_authorization: str) -> None:
        """Answer `/.well-known/acme-challenge/TOKEN` on port 80 with this text, at every name."""

    def remove_http(self, token: str) -> None:
        """Answer it no more."""

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """Show this certificate to who asks for `name` by SNI and for ACME_TLS alone by ALPN.

        It is called twice for a name: with an RSA key, which TLS 1.2 needs where the name's own certificate has one,
        and then with an ECDSA key, which is good everywhere else.
        """

    def remove_alpn(self, name: str) -> None:
        """Show neither of them any more."""


class Answers:
    """What is shown for one order, until it is withdrawn. `rsa` is from `rsa_key`."""

    def __init__(self, responders: Responders, rsa: rsa.RSAPrivateKey) -> None:
        self._responders = responders
        self._rsa = rsa
        self._shown: list[Removal] = []

    def show(self, kind: Kind, name: str, token: str, key_authorization: str) -> None:
        """Answer a challenge of this kind for this name from now on."""
        responders = self._responders
        if kind is Kind.HTTP:
            self._shown.append(lambda: responders.remove_http(token))
            responders.add_http(token, key_authorization)
            return
        self._shown.append(lambda: responders.remove_alpn(name))
        for key in (self._rsa, keys.new()):
            responders.add_alpn(name, challenge_certificate(name, key_authorization, key), key)

    def withdraw(self) -> None:
        """Answer none of them any more."""
        shown, self._shown = self._shown, []
        for remove in shown:
            remove()


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """An RSA key for challenges. It is made once, for it takes some 50 ms, and protects nothing."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def challenge_certificate(name: str, key_authorization: str, key: PrivateKey) -> bytes:
    """The certificate of a tls-alpn-01 challenge in PEM (RFC 8737 §3).

    It is self-signed, for this name alone, and holds the digest of the key authorization in a critical extension.
    """
    proof = b"\x04\x20" + keys.digest(key_authorization)  # DER: an octet string of 32 bytes
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(IDENTIFIER, proof), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)
