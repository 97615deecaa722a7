"""A certificate with its chain and its key, read from files, ordered by ACME, or self-signed."""

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
from facaded.tls.subject_names import read_names
from facaded.tls.window import Window, format_time

CHAIN_LENGTH = 16
"""The most certificates in a chain: real ones have two to four, and every handshake sends all of them."""

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""The types of key that every TLS client supports."""


class UnusableError(Exception):
    """A certificate cannot be used for TLS. The text says why and what to do."""


class KeyMismatchError(UnusableError):
    """The key does not belong to the certificate."""

    def __init__(self) -> None:
        super().__init__(
            "the key does not match the first certificate in the chain: install both from the same renewal"
        )


@frozen
class ServerCertificate:
    """A chain, the server's own certificate first, and the key that belongs to it.

    `names` are the DNS names of the certificate, a wildcard as `*.example.com`, and its IP addresses; `issuer` is the
    name of the issuer for people; `fingerprint` identifies the chain. `identifier` names the certificate in a request
    for renewal information (RFC 9773 §4.1), None if it has no authority key identifier.
    """

    chain: tuple[x509.Certificate, ...] = field(repr=False)
    key: PrivateKey = field(repr=False, eq=False)  # the chain contains the public key
    names: tuple[str, ...]
    issuer: str
    validity: Window
    fingerprint: bytes = field(repr=False)
    identifier: str | None

    @classmethod
    def from_chain(cls, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> "ServerCertificate":
        """Read the fields from a chain. Raises KeyMismatchError, or UnusableError if it cannot be parsed."""
        leaf = chain[0]
        try:
            if key.public_key() != leaf.public_key():
                raise KeyMismatchError
            return cls(
                chain,
                key,
                _names(leaf),
                _issuer(leaf),
                Window(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()),
                b"".join(certificate.fingerprint(hashes.SHA256()) for certificate in chain),
                _identifier(leaf),
            )
        except (ValueError, UnsupportedAlgorithm):
            raise UnusableError("the certificate cannot be parsed: install the one that the CA issued") from None

    @property
    def chain_pem(self) -> bytes:
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def parse(chain_pem: bytes, key_pem: bytes) -> ServerCertificate:
    """Return the certificate of a chain and its key, both in PEM. Raises UnusableError."""
    try:
        chain = tuple(x509.load_pem_x509_certificates(chain_pem))
    except ValueError:
        raise UnusableError(
            "the chain is not a list of certificates in PEM form: write the full chain to this file"
        ) from None
    if len(chain) > CHAIN_LENGTH:
        raise UnusableError(f"the chain has more than {CHAIN_LENGTH} certificates: remove those that do not belong")
    try:
        # Checking that the factors of an RSA key are primes takes 35 ms for each key of 2048 bits, and is skipped:
        # the comparison with the certificate's public key shows that the key belongs to it.
        key = load_pem_private_key(key_pem, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise UnusableError("the key is encrypted: store it without a passphrase") from None
    except Exception:  # cryptography raises several types for input that it does not understand
        raise UnusableError(
            "the key is not a private key in PEM form: write the certificate's key to this file"
        ) from None
    if not isinstance(key, PrivateKey):
        raise UnusableError("many clients do not support this type of key: use an ECDSA or RSA key")
    return ServerCertificate.from_chain(chain, key)


def check_time(certificate: ServerCertificate, now: float) -> None:
    """Raise UnusableError unless the certificate is valid `now`, in seconds since the epoch."""
    validity = certificate.validity
    if validity.end <= now:
        raise UnusableError(f"the certificate expired on {format_time(validity.end)}: renew it")
    if validity.start > now:
        raise UnusableError(
            f"the certificate is not valid before {format_time(validity.start)}: check this machine's clock, or wait"
        )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        return read_names(certificate)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()


def _issuer(certificate: x509.Certificate) -> str:
    """Return the issuer's organization and common name: a common name by itself may be as short as `E7`."""
    issuer = certificate.issuer
    parts = [*issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    parts += issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = " ".join(str(part.value) for part in parts) or issuer.rfc4514_string()
    return printable(name) or "unnamed issuer"


def _identifier(certificate: x509.Certificate) -> str | None:
    """Return the issuer's key identifier and the serial number as RFC 9773 §4.1 encodes them: the bytes of the DER."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
    if authority is None:
        return None
    serial = certificate.serial_number
    return f"{keys.encode(authority)}.{keys.encode(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"
