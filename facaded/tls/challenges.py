"""The answers to a CA's challenges: http-01 (RFC 8555 §8.3) and tls-alpn-01 (RFC 8737).

An order publishes its answers before it asks the CA to validate, and withdraws them when the CA has decided. While
they are pending, the plain port and the TLS handshakes give them to the CA.
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
from facaded.tls.acme.challenge_files import ChallengeFiles
from facaded.tls.acme.settings import ChallengeKind
from facaded.tls.contexts import make_context
from facaded.tls.server_certificate import PrivateKey, ServerCertificate, UnusableError
from facaded.tls.subject_names import alternative_names, challenge_name

ACME_TLS = b"acme-tls/1"
"""The ALPN protocol of tls-alpn-01 (RFC 8737 §6.2)."""

IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
"""id-pe-acmeIdentifier (RFC 8737 §6.1)."""

CLOCK_MARGIN = timedelta(days=1)
"""How long before and after now a challenge certificate is valid, in case this machine's clock is wrong."""

RSA_BITS = 2048

Withdrawal: TypeAlias = Callable[[], None]

ChallengePair: TypeAlias = dict[bool, tuple[ServerCertificate, SSL.Context]]
"""The certificates for one challenge, each with its Context, by whether their key is RSA."""

MAX_PENDING = 1000
"""The most pending challenges of one kind; an order has one for each of its names."""


class ChallengeResponder(Protocol):
    """Answers challenges. Removing a challenge that was never added does nothing."""

    def add_http(self, token: str, key_authorization: str) -> None:
        """Answer `/.well-known/acme-challenge/TOKEN` on port 80 with this text, for every host (RFC 8555 §8.3)."""

    def remove_http(self, token: str) -> None:
        """Stop answering it."""

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """Send this certificate to a client that asks for `name` by SNI and offers only ACME_TLS by ALPN (RFC 8737).

        It is called twice for a name: with an RSA key, which TLS 1.2 needs if the certificate in service has one, and
        then with an ECDSA key for all other cases.
        """

    def remove_alpn(self, name: str) -> None:
        """Stop sending both."""


@define(eq=False)
class Challenges:
    """The daemon's ChallengeResponder: the pending answers, for the plain port and the TLS handshakes.

    What it has no answer for, `others` may have. `other_daemons` has the answers of the daemons that share its
    directory, None without any.
    """

    _others: "Challenges | None" = None
    other_daemons: ChallengeFiles | None = field(default=None, init=False)
    _http: dict[str, bytes] = field(factory=dict, init=False)
    _alpn: dict[bytes, ChallengePair] = field(factory=dict, init=False)

    def add_http(self, token: str, key_authorization: str) -> None:
        """See ChallengeResponder. Raises UnusableError if too many are pending."""
        _check_pending(len(self._http))
        self._http[token] = key_authorization.encode("ascii")

    def remove_http(self, token: str) -> None:
        self._http.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """See ChallengeResponder; a name has one certificate for each type of key. Raises UnusableError."""
        _check_pending(len(self._alpn))
        by_key_type = self._alpn.setdefault(name.lower().encode("ascii"), {})
        by_key_type[isinstance(key, RSAPrivateKey)] = _make_context(chain_pem, key)

    def remove_alpn(self, name: str) -> None:
        self._alpn.pop(name.lower().encode("ascii"), None)

    def answer(self, token: str) -> bytes | None:
        """Return the key authorization for a token of http-01, or None if it is not pending."""
        answer = self._http.get(token)
        if answer is None and self._others is not None:
            answer = self._others.answer(token)
        if answer is not None or self.other_daemons is None:
            return answer
        other = self.other_daemons.find(ChallengeKind.HTTP, token)
        return None if other is None else other.encode("ascii")

    def present(self, connection: SSL.Connection) -> bool:
        """Switch a connection to the challenge certificate for its name; return False if none is pending.

        Call it while the handshake selects the protocol. With TLS 1.2, OpenSSL has already selected the cipher by the
        certificate in service, so this replaces the certificate in the connection by one with the same type of key.
        With TLS 1.3, OpenSSL selects the certificate later, from the connection's Context.
        """
        pending = self._pending((connection.get_servername() or b"").lower())
        if not pending:
            return False
        if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            connection.set_context(next(iter(pending.values()))[1])
            return True
        in_service = connection.get_certificate(as_cryptography=True)
        has_rsa = in_service is not None and isinstance(in_service.public_key(), RSAPublicKey)
        certificate, _ = pending.get(has_rsa, next(iter(pending.values())))
        connection.use_certificate(certificate.chain[0])
        connection.use_privatekey(certificate.key)
        return True

    def _pending(self, name: bytes) -> ChallengePair | None:
        """Return the challenge certificates for a name, by whether they have RSA keys; None if there are none."""
        pending = self._alpn.get(name)
        if pending is None and self._others is not None:
            pending = self._others._pending(name)
        return pending or self._pending_elsewhere(name)

    def _pending_elsewhere(self, name: bytes) -> ChallengePair | None:
        """Return the certificates for a challenge that another daemon has published, or None."""
        if self.other_daemons is None:
            return None
        text = name.decode("ascii", "replace")
        answer = self.other_daemons.find(ChallengeKind.TLS_ALPN, text)
        if answer is None:
            return None
        key_authorization, _, identifier = answer.partition(" ")
        return _make_pair(identifier or text, key_authorization)


class OrderChallenges:
    """The answers of one order, from when they are published until they are withdrawn.

    `files` are for the daemons that share the directory, None if there are none.
    """

    def __init__(self, responder: ChallengeResponder, files: ChallengeFiles | None = None) -> None:
        self._responder = responder
        self._files = files
        self._withdrawals: list[Withdrawal] = []

    def publish(self, kind: ChallengeKind, name: str, token: str, key_authorization: str) -> None:
        """Start answering a challenge of this kind for this name. Raises StoreError."""
        responder, files = self._responder, self._files
        if files is not None:
            is_http = kind is ChallengeKind.HTTP
            subject = token if is_http else challenge_name(name)
            self._withdrawals.append(lambda: files.withdraw(kind, subject))
            files.publish(kind, subject, key_authorization if is_http else f"{key_authorization} {name}")
        if kind is ChallengeKind.HTTP:
            self._withdrawals.append(lambda: responder.remove_http(token))
            responder.add_http(token, key_authorization)
            return
        asked_name = challenge_name(name)
        self._withdrawals.append(lambda: responder.remove_alpn(asked_name))
        for key in (rsa_key(), keys.new()):
            responder.add_alpn(asked_name, challenge_certificate(name, key_authorization, key), key)

    def withdraw(self) -> None:
        """Stop answering all of them."""
        withdrawals, self._withdrawals = self._withdrawals, []
        for withdraw in withdrawals:
            withdraw()


@functools.cache
def rsa_key() -> RSAPrivateKey:
    """Return the RSA key of all challenges; it is generated on first use, because that takes about 50 ms."""
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def challenge_certificate(name: str, key_authorization: str, key: PrivateKey) -> bytes:
    """Return a new certificate for a tls-alpn-01 challenge, in PEM (RFC 8737 §3).

    It is self-signed, valid for this name or address only, and has the digest of the key authorization in a critical
    extension.
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
        .not_valid_before(now - CLOCK_MARGIN)
        .not_valid_after(now + CLOCK_MARGIN)
        .add_extension(alternative_names([name]), critical=False)
        .add_extension(x509.UnrecognizedExtension(IDENTIFIER, proof), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


@functools.lru_cache(MAX_PENDING)
def _make_pair(name: str, key_authorization: str) -> ChallengePair:
    """Return the certificates for a challenge; a CA asks several times for the same."""
    own_keys: tuple[PrivateKey, ...] = (rsa_key(), keys.new())
    chains = ((challenge_certificate(name, key_authorization, key), key) for key in own_keys)
    return {isinstance(key, RSAPrivateKey): _make_context(chain, key) for chain, key in chains}


def _make_context(chain_pem: bytes, key: PrivateKey) -> tuple[ServerCertificate, SSL.Context]:
    certificate = ServerCertificate.from_chain(tuple(x509.load_pem_x509_certificates(chain_pem)), key)
    return certificate, make_context(certificate, _select_acme_tls, lambda _: None)


def _check_pending(count: int) -> None:
    if count >= MAX_PENDING:
        raise UnusableError(f"more than {MAX_PENDING} challenges are pending: order fewer certificates at a time")


def _select_acme_tls(_: SSL.Connection, __: list[bytes]) -> bytes:
    return ACME_TLS
