"""A certificate with its chain and its key, whoever made it: read from files, ordered by ACME, or self-signed."""

from datetime import UTC, datetime
from typing import TypeAlias

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from facaded.net.text import printable
from facaded.tls.acme import keys
from facaded.tls.window import Window

CHAIN_LENGTH = 16
"""Certificates in a chain: real ones have two to four, and all are sent in every handshake."""

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""Of the keys that TLS knows, those that every client can use."""


class UnusableError(Exception):
    """A certificate that TLS cannot use. The text is a sentence with a remedy."""


class OtherKeyError(UnusableError):
    """A certificate whose key is another one."""

    def __init__(self) -> None:
        super().__init__(
            "the key is not that of the first certificate in the chain: install both from the same renewal"
        )


@frozen
class ServerCertificate:
    """What a TLS server shows, and signs with: a chain, the server's own certificate first, and its key.

    `names` are the DNS names that it is for, a wildcard as `*.example.com`; `issuer` is who made it, as a person reads
    it; `fingerprint` tells one chain from another. `identifier` is by what its CA knows it when asked about its renewal
    (RFC 9773 §4.1), None if it does not say.
    """

    chain: tuple[x509.Certificate, ...] = field(repr=False)
    key: PrivateKey = field(repr=False, eq=False)  # the chain names its public half
    names: tuple[str, ...]
    issuer: str
    life: Window
    fingerprint: bytes = field(repr=False)
    identifier: str | None

    @classmethod
    def of(cls, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> "ServerCertificate":
        """Read what a chain says of itself. Raises OtherKeyError, or UnusableError if it cannot be read."""
        own = chain[0]
        try:
            if key.public_key() != own.public_key():
                raise OtherKeyError
            return cls(
                chain,
                key,
                _names(own),
                _issuer(own),
                Window(own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp()),
                b"".join(certificate.fingerprint(hashes.SHA256()) for certificate in chain),
                _identifier(own),
            )
        except (ValueError, UnsupportedAlgorithm):
            raise UnusableError("the certificate cannot be read: install the one that its CA gave") from None

    @property
    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse(chain_pem: bytes, key_pem: bytes) -> ServerCertificate:
    """Read a chain and its key, both in PEM form. Raises UnusableError."""
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
        # comparison with the certificate's public key shows that it is the certificate's.
        key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise UnusableError("the key is encrypted: write it without a passphrase") from None
    except Exception:  # cryptography has several for what it does not know
        raise UnusableError(
            "the key is not a private key in PEM form: write the key of the certificate there"
        ) from None
    if not isinstance(key, PrivateKey):
        raise UnusableError("the key is of a kind that clients have no use for: make an ECDSA or an RSA key")
    return ServerCertificate.of(chain, key)


def check_time(certificate: ServerCertificate, now: float) -> None:
    """Raise UnusableError unless the certificate is valid `now`, in seconds since the epoch."""
    life = certificate.life
    if life.ends <= now:
        raise UnusableError(f"the certificate expired on {_day(life.ends)}: renew it")
    if life.begins > now:
        raise UnusableError(f"the certificate is valid from {_day(life.begins)} only: set the clock, or wait")


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    return tuple(dict.fromkeys(name.lower() for name in found.value.get_values_for_type(x509.DNSName)))


def _issuer(certificate: x509.Certificate) -> str:
    """Organization and common name: one of them alone may be as short as `E7`."""
    issuer = certificate.issuer
    parts = [*issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    parts += issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    said = " ".join(str(part.value) for part in parts) or issuer.rfc4514_string()
    return printable(said) or "an issuer without a name"


def _identifier(certificate: x509.Certificate) -> str | None:
    """RFC 9773 §4.1: key identifier of the issuer and serial number, the bytes that DER has for it."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
    if authority is None:
        return None
    serial = certificate.serial_number
    return f"{keys.encoded(authority)}.{keys.encoded(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def _day(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M UTC")
