"""Certificates from a CA: the request for one, and the checks of what the CA issued."""

import itertools
import math
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from facaded.net.text import printable
from facaded.tls import server_certificate
from facaded.tls.acme import keys
from facaded.tls.acme.keys import P256Key
from facaded.tls.server_certificate import KeyMismatchError, ServerCertificate, UnusableError
from facaded.tls.subject_names import alternative_names

MAX_CERTIFICATES = 10
"""The most certificates in one chain: real ones have two or three."""

CLOCK_SKEW = 86400.0
"""Seconds that the begin of a certificate may be ahead of this machine's clock, which is then probably wrong."""

SHORTEST_VALIDITY = 3600.0
"""Seconds: with less, one order would follow another. Public CAs issue for at least 160 hours, private ones a day."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+?-----END CERTIFICATE-----")


class UnreadableChainError(ValueError):
    """The response has no chain in PEM: it may have been cut short, or come from a proxy."""


def make_request(names: tuple[str, ...], key: P256Key) -> bytes:
    """Return a certificate signing request (RFC 8555 §7.4) in DER, with the names only and no subject."""
    extension = alternative_names(names)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def read(chain: bytes, key: bytes) -> ServerCertificate:
    """Return the certificate of a chain and its key, both in PEM; other text around the chain is ignored.

    Raises ValueError with the reason unless it is one ordered chain for DNS names and addresses only, with the given
    P-256 key.
    """
    blocks = _PEM.findall(chain)
    if not 0 < len(blocks) <= MAX_CERTIFICATES:
        raise UnreadableChainError("no certificate chain")
    keys.load(key)
    try:
        certificate = server_certificate.parse(b"".join(block + b"\n" for block in blocks), key)
    except KeyMismatchError:
        raise ValueError("a certificate for another key") from None
    except UnusableError:
        raise UnreadableChainError("no certificate chain") from None
    for child, issuer in itertools.pairwise(certificate.chain):
        _check_signature(child, issuer)
    _check_name_types(certificate.chain[0])
    return certificate


def check(
    certificate: ServerCertificate, names: tuple[str, ...], now: float
) -> tuple[ServerCertificate, tuple[str, ...]]:
    """Return a new certificate without what is superfluous in its chain, and warnings.

    Raises ValueError with the reason unless it is for `names` and valid `now`, in seconds since the epoch. One that
    begins up to a day later is valid: the CA has issued it by its own clock, so this machine's is slow.
    """
    if frozenset(certificate.names) != frozenset(names):
        raise ValueError(f"a certificate for other names: {printable(', '.join(sorted(certificate.names)))}")
    validity = certificate.validity
    if not validity.start - CLOCK_SKEW <= now < validity.end:
        raise ValueError("a certificate that is not valid now (check this machine's clock)")
    if validity.length < SHORTEST_VALIDITY:
        raise ValueError("a certificate that is valid for less than an hour (configure a longer validity at the CA)")
    warnings = []
    if validity.start > now:
        minutes = math.ceil((validity.start - now) / 60)
        warnings.append(
            f"the certificate for {', '.join(names)} is valid in {minutes} minutes only by this machine's clock, which "
            "is probably slow: correct it (see `timedatectl`)"
        )
    issuer, *others = certificate.chain[1:] or (None,)
    if issuer is not None and not _is_valid(issuer, now):
        raise ValueError("a chain whose intermediate certificate is not valid now")
    valid = list(itertools.takewhile(lambda other: _is_valid(other, now), others))
    if len(valid) < len(others):
        warnings.append(f"the CA's chain for {', '.join(names)} ends with an expired certificate, which is left out")
        certificate = ServerCertificate.from_chain((*certificate.chain[:2], *valid), certificate.key)
    return certificate, tuple(warnings)


def _is_valid(certificate: x509.Certificate, now: float) -> bool:
    begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return begin - CLOCK_SKEW <= now < end


def _check_name_types(certificate: x509.Certificate) -> None:
    """Raise ValueError if the certificate is for anything but DNS names and IP addresses."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    except x509.DuplicateExtension:
        raise ValueError("a certificate with two subjectAltName extensions") from None
    if any(not isinstance(name, x509.DNSName | x509.IPAddress) for name in names):
        raise ValueError("a certificate for more than DNS names and addresses")


def _check_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise ValueError("a chain in which a certificate is not signed by the next one") from None
