"""What OpenSSL speaks TLS with: a chain and its key, checked, in a Context of their own.

A Context must not change after its first connection: for a new certificate there is always a new one.
"""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from facaded.net.text import printable

CHAIN_LENGTH = 16
"""Certificates in a chain: real ones have two to four, and all are sent in every handshake."""

SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone, as in TLS 1.3. Every client since 2014 has it."""

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""Of the keys that TLS knows, those that every client can do with."""

TURNS = 10
"""Exchanges in which a handshake in memory is over; TLS 1.2 needs three."""

SelectProtocol: TypeAlias = Callable[[SSL.Connection, list[bytes]], bytes]
"""Chooses among the protocols that a client offers (ALPN), or raises SSL.Error."""

SwitchName: TypeAlias = Callable[[SSL.Connection], None]
"""Called when a client has said the name that it wants (SNI)."""


class UnusableError(Exception):
    """A certificate that TLS cannot be spoken with. The text is a sentence with a remedy."""


@frozen
class Pair:
    """A chain, the certificate itself first, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: Key = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names that it is for, a wildcard as `*.example.com`."""
        try:
            found = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return ()
        return tuple(dict.fromkeys(name.lower() for name in found.value.get_values_for_type(x509.DNSName)))

    @property
    def issuer(self) -> str:
        """Who has issued it, as a person reads it."""
        issuer = self.chain[0].issuer
        parts = [*issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        parts += issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return printable(" ".join(str(part.value) for part in parts)) or "an issuer without a name"

    @property
    def begins(self) -> float:
        """When it becomes valid, in seconds since the epoch."""
        return self.chain[0].not_valid_before_utc.timestamp()

    @property
    def ends(self) -> float:
        """When it expires, in seconds since the epoch."""
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def fingerprint(self) -> bytes:
        """Tells one chain from another."""
        return b"".join(certificate.fingerprint(hashes.SHA256()) for certificate in self.chain)


def parse(chain_pem: bytes, key_pem: bytes) -> Pair:
    """Read a chain and its key. Raises UnusableError."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
    except ValueError:
        raise UnusableError(
            "the chain is not a list of certificates in PEM form: write the whole chain there"
        ) from None
    if len(chain) > CHAIN_LENGTH:
        raise UnusableError(f"the chain has more than {CHAIN_LENGTH} certificates: leave out those that are not in it")
    try:
        # That an RSA key's factors are primes is not proven: it takes 35 ms for each key of 2048 bits, and the
        # comparison below shows that it is the certificate's.
        key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise UnusableError("the key is encrypted: write it without a passphrase") from None
    except Exception:  # cryptography has several for what it does not know
        raise UnusableError(
            "the key is not a private key in PEM form: write the key of the certificate there"
        ) from None
    if not isinstance(key, Key):
        raise UnusableError("the key is of a kind that clients have no use for: make an ECDSA or an RSA key")
    if key.public_key() != chain[0].public_key():
        raise UnusableError(
            "the key is not that of the first certificate in the chain: install both from the same renewal"
        )
    return Pair(chain, key)


def check_time(pair: Pair, now: float) -> None:
    """Raise UnusableError unless the certificate is valid `now`, in seconds since the epoch."""
    if pair.ends <= now:
        raise UnusableError(f"the certificate expired on {_day(pair.ends)}: renew it")
    if pair.begins > now:
        raise UnusableError(f"the certificate is valid from {_day(pair.begins)} only: set the clock, or wait")


def make(pair: Pair, select: SelectProtocol, switch: SwitchName) -> SSL.Context:
    """A new Context that speaks with this pair. Raises UnusableError if OpenSSL does not."""
    try:
        _try(_context(pair))
    except SSL.Error as error:
        reason = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
        remedy = "get one whose chain has ECDSA keys, or RSA keys of 2048 bits or more, and SHA-256"
        raise UnusableError(f"OpenSSL does not accept the certificate ({reason}): {remedy}") from None
    context = _context(pair)
    context.set_alpn_select_callback(select)
    context.set_tlsext_servername_callback(switch)
    return context


def _context(pair: Pair) -> SSL.Context:
    """Raises SSL.Error if OpenSSL refuses the pair itself."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # No resumption, by tickets or otherwise: what would be kept outlives the certificate, and the clients of a
    # registry (Go's, nearly all) do not resume.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(SUITES)
    context.use_certificate(pair.chain[0])
    for certificate in pair.chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(pair.key)
    context.check_privatekey()
    return context


def _try(context: SSL.Context) -> None:
    """Shake hands in memory: OpenSSL looks at the rest of a chain only then. Raises SSL.Error."""
    server, client = SSL.Connection(context), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(TURNS):
        for here, there in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(1 << 18))


def _day(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M UTC")
