"""The self-signed certificate, created in memory, that answers for a host until it has another one."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from facaded.tls.server_certificate import ServerCertificate
from facaded.tls.subject_names import alternative_names

NAME = "facaded temporary self-signed certificate"
"""Its subject and issuer, for people who inspect it."""

VALIDITY = timedelta(days=3650)
"""It is discarded when the process ends, and that may run for years."""

CLOCK_SKEW = timedelta(days=1)
"""How far a client's clock may be behind."""


def make(hosts: tuple[str, ...], now: float) -> ServerCertificate:
    """Return a new certificate for these host names and addresses; `now` is in seconds since the epoch."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    today = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - CLOCK_SKEW)
        .not_valid_after(today + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(alternative_names(hosts), critical=False)
    return ServerCertificate.from_chain((builder.sign(key, hashes.SHA256()),), key)
