"""Certificates as CAs give them: what is asked for, what came, and whether it is that."""

import itertools
import re

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from facaded.net.text import printable
from facaded.tls.acme import keys
from facaded.tls.acme.keys import Key
from facaded.tls.acme.schedule import Window

MOST_CERTIFICATES = 10
"""Certificates in one chain: real ones have two or three."""

CLOCKS_APART = 3600.0
"""Seconds that a CA's clock may be ahead of ours."""

SHORTEST_LIFE = 3600.0
"""Seconds: with a shorter life, orders would follow one another. CAs give 160 hours, those inside a house a day."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----")


@frozen
class Certificate:
    """A certificate with its chain and its key, both in PEM.

    `names` are those it is for, `issuer` whoever made it, as its certificate says. `identifier` is what its CA knows
    it by when asked about its renewal (RFC 9773 §4.1).
    """

    chain: bytes = field(repr=False)
    key: bytes = field(repr=False)
    names: frozenset[str]
    issuer: str
    life: Window
    identifier: str | None


def request(names: tuple[str, ...], key: Key) -> bytes:
    """A request for a certificate (RFC 8555 §7.4) in DER: the names alone, without a subject."""
    wanted = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(wanted, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def read(chain: bytes, key: bytes) -> Certificate:
    """A chain with its key. Raises ValueError with the reason if they do not belong together."""
    blocks = _PEM.findall(chain)
    if not 0 < len(blocks) <= MOST_CERTIFICATES:
        raise ValueError("no chain of certificates")
    certificates = [x509.load_pem_x509_certificate(block) for block in blocks]
    leaf = certificates[0]
    if _public(leaf.public_key()) != _public(keys.load(key).public_key()):
        raise ValueError("a certificate for another key")
    for certificate, issuer in itertools.pairwise(certificates):
        _verify(certificate, issuer)
    return Certificate(
        b"".join(block + b"\n" for block in blocks),
        key,
        _names(leaf),
        _name(leaf.issuer),
        Window(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()),
        _identifier(leaf),
    )


def check(certificate: Certificate, names: tuple[str, ...], now: float) -> None:
    """Raises ValueError with the reason if a certificate that just came is not what was asked for."""
    if certificate.names != frozenset(names):
        raise ValueError(f"a certificate for other names: {printable(', '.join(sorted(certificate.names)))}")
    if not certificate.life.begins - CLOCKS_APART <= now < certificate.life.ends:
        raise ValueError("a certificate that is not valid now: see that this machine's clock is right")
    if certificate.life.length < SHORTEST_LIFE:
        raise ValueError("a certificate for less than an hour: have the CA give longer ones")
    for other in x509.load_pem_x509_certificates(certificate.chain)[1:]:
        if not other.not_valid_before_utc.timestamp() - CLOCKS_APART <= now < other.not_valid_after_utc.timestamp():
            raise ValueError("a chain with a certificate that is not valid now")


def _names(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    if any(not isinstance(name, x509.DNSName) for name in names):
        raise ValueError("a certificate for more than names")
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def _name(name: x509.Name) -> str:
    """Organization and common name: one of them alone may be as short as `E7`."""
    kinds = (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
    found = [str(each.value) for kind in kinds for each in name.get_attributes_for_oid(kind)[:1]]
    return printable(" ".join(found) or name.rfc4514_string())


def _identifier(certificate: x509.Certificate) -> str | None:
    """RFC 9773 §4.1: key identifier of the issuer and serial number, the bytes that DER has for it."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if authority is None:
        return None
    serial = certificate.serial_number
    return f"{keys.encoded(authority)}.{keys.encoded(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ValueError("a chain whose certificates did not sign each other") from None


def _public(key: object) -> bytes:
    encode = getattr(key, "public_bytes", None)
    return encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) if encode else b""
