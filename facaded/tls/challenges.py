"""Challenges of a CA: what shows it that a name leads here, by http-01 (RFC 8555 §8.3) or tls-alpn-01 (RFC 8737).

Whoever orders a certificate shows the challenges of the order before the CA is told to look, and withdraws them when
the CA has decided. As long as they are pending, the plain port and the TLS handshakes answer them.
"""

import functools
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, TypeAlias

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from facaded.tls.acme import keys
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.contexts import make
from facaded.tls.server_certificate import PrivateKey, ServerCertificate, UnusableError

ACME_TLS = b"acme-tls/1"
"""The ALPN protocol of tls-alpn-01 (RFC 8737 §6.2)."""

IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §6.1)."""

LIFE = timedelta(days=1)
"""How long before and after now a challenge's certificate is valid, whatever this machine's clock says."""

RSA_BITS = 2048

Withdrawal: TypeAlias = Callable[[], None]

PENDING = 1000
"""Challenges of one kind that wait at a time: one for each name in an order."""


class ChallengeResponder(Protocol):
    """What answers challenges. A remove may come for what was never added."""

    def add_http(self, token: str, key_authorization: str) -> None:
        """Answer `/.well-known/acme-challenge/TOKEN` on port 80 with this text, at every name (RFC 8555 §8.3)."""

    def remove_http(self, token: str) -> None:
        """Stop answering it."""

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """Show this certificate to a client that asks for `name` by SNI and for ACME_TLS alone by ALPN (RFC 8737).

        It is called twice for a name: with an RSA key, which TLS 1.2 needs where the name's own certificate has one,
        and then with an ECDSA key, which is good everywhere else.
        """

    def remove_alpn(self, name: str) -> None:
        """Stop showing both of them."""


@define(eq=False)
class Challenges:
    """The daemon's ChallengeResponder: what is pending, for the plain port and the TLS handshakes to answer."""

    _http: dict[str, bytes] = field(factory=dict, init=False)
    _alpn: dict[bytes, dict[bool, tuple[ServerCertificate, SSL.Context]]] = field(factory=dict, init=False)

    def add_http(self, token: str, key_authorization: str) -> None:
        """See ChallengeResponder. Raises UnusableError if too many are pending."""
        _check_room(len(self._http))
        self._http[token] = key_authorization.encode("ascii")

    def remove_http(self, token: str) -> None:
        self._http.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """See ChallengeResponder; there may be one certificate for each kind of key. Raises UnusableError."""
        _check_room(len(self._alpn))
        certificate = ServerCertificate.of(tuple(x509.load_pem_x509_certificates(chain_pem)), key)
        by_kind = self._alpn.setdefault(name.lower().encode("ascii"), {})
        by_kind[isinstance(key, RSAPrivateKey)] = certificate, make(certificate, _select_validation, lambda _: None)

    def remove_alpn(self, name: str) -> None:
        self._alpn.pop(name.lower().encode("ascii"), None)

    def answer(self, token: str) -> bytes | None:
        """Return the key authorization for a token of http-01."""
        return self._http.get(token)

    def present(self, connection: SSL.Connection) -> bool:
        """Show the certificate of a challenge in a handshake, while its protocol is chosen; say whether there is one.

        Where TLS 1.2 is spoken, OpenSSL has chosen its cipher already, by the certificate in service: that is then
        replaced in this connection, by one with a key of the same kind. With TLS 1.3 it is chosen later, from the
        connection's Context.
        """
        found = self._alpn.get((connection.get_servername() or b"").lower())
        if not found:
            return False
        if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            connection.set_context(next(iter(found.values()))[1])
            return True
        shown = connection.get_certificate(as_cryptography=True)
        certificate, _ = found.get(
            shown is not None and isinstance(shown.public_key(), RSAPublicKey), next(iter(found.values()))
        )
        connection.use_certificate(certificate.chain[0])
        connection.use_privatekey(certificate.key)
        return True


class OrderChallenges:
    """The challenges that one order shows, until they are withdrawn."""

    def __init__(self, responder: ChallengeResponder) -> None:
        self._responder = responder
        self._withdrawals: list[Withdrawal] = []

    def show(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Answer a challenge of this kind for this name from now on."""
        responder = self._responder
        if kind is ChallengeKind.HTTP:
            self._withdrawals.append(lambda: responder.remove_http(token))
            responder.add_http(token, key_authorization)
            return
        self._withdrawals.append(lambda: responder.remove_alpn(name))
        for key in (rsa_key(), keys.new()):
            responder.add_alpn(name, challenge_certificate(name, key_authorization, key), key)

    def withdraw(self) -> None:
        """Stop answering all of them."""
        withdrawals, self._withdrawals = self._withdrawals, []
        for withdraw in withdrawals:
            withdraw()


@functools.cache
def rsa_key() -> RSAPrivateKey:
    """Return an RSA key for challenges: made once, when first needed, because that takes some 50 ms."""
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def challenge_certificate(name: str, key_authorization: str, key: PrivateKey) -> bytes:
    """Make the certificate of a tls-alpn-01 challenge, in PEM (RFC 8737 §3).

    It is self-signed, for this name alone, and holds the digest of the key authorization in a critical extension.
    """
    digest = hashlib.sha256(key_authorization.encode("ascii")).digest()
    proof = b"\x04\x20" + digest  # DER: an octet string of 32 bytes
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


def _check_room(pending: int) -> None:
    if pending >= PENDING:
        raise UnusableError(f"more than {PENDING} challenges are pending: order fewer certificates at a time")


def _select_validation(_: SSL.Connection, __: list[bytes]) -> bytes:
    return ACME_TLS
