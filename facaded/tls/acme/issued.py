"""Certificates as CAs issue them: what is asked for, what came, and whether it is that."""

import itertools
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from facaded.net.text import printable
from facaded.tls import server_certificate
from facaded.tls.acme import keys
from facaded.tls.acme.keys import P256Key
from facaded.tls.server_certificate import OtherKeyError, ServerCertificate, UnusableError

MOST_CERTIFICATES = 10
"""Certificates in one chain: real ones have two or three."""

CLOCKS_APART = 3600.0
"""Seconds that a CA's clock may be ahead of ours."""

SHORTEST_LIFE = 3600.0
"""Seconds: with a shorter life, orders would follow one another. CAs give 160 hours, those inside a house a day."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----")


def request(names: tuple[str, ...], key: P256Key) -> bytes:
    """Make a request for a certificate (RFC 8555 §7.4) in DER: the names alone, without a subject."""
    wanted = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(wanted, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def read(chain: bytes, key: bytes) -> ServerCertificate:
    """Read a chain with its key, both in PEM; whatever else stands in the chain's text is left out.

    Raises ValueError with the reason if this is not one chain, in order, for names alone, with its own P-256 key.
    """
    blocks = _PEM.findall(chain)
    if not 0 < len(blocks) <= MOST_CERTIFICATES:
        raise ValueError("no chain of certificates")
    keys.load(key)
    try:
        certificate = server_certificate.parse(b"".join(block + b"\n" for block in blocks), key)
    except OtherKeyError:
        raise ValueError("a certificate for another key") from None
    except UnusableError:
        raise ValueError("no chain of certificates") from None
    for one, issuer in itertools.pairwise(certificate.chain):
        _verify(one, issuer)
    _check_kinds(certificate.chain[0])
    return certificate


def check(certificate: ServerCertificate, names: tuple[str, ...], now: float) -> None:
    """Raise ValueError with the reason if a certificate that just came is not what was asked for."""
    if frozenset(certificate.names) != frozenset(names):
        raise ValueError(f"a certificate for other names: {printable(', '.join(sorted(certificate.names)))}")
    life = certificate.life
    if not life.begins - CLOCKS_APART <= now < life.ends:
        raise ValueError("a certificate that is not valid now: see that this machine's clock is right")
    if life.length < SHORTEST_LIFE:
        raise ValueError("a certificate for less than an hour: have the CA give longer ones")
    for other in certificate.chain[1:]:
        if not other.not_valid_before_utc.timestamp() - CLOCKS_APART <= now < other.not_valid_after_utc.timestamp():
            raise ValueError("a chain with a certificate that is not valid now")


def _check_kinds(certificate: x509.Certificate) -> None:
    """Raise ValueError if it is for anything that is not a DNS name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    except x509.DuplicateExtension:
        raise ValueError("a certificate that names its names twice") from None
    if any(not isinstance(name, x509.DNSName) for name in names):
        raise ValueError("a certificate for more than names")


def _verify(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ValueError("a chain whose certificates did not sign each other") from None
