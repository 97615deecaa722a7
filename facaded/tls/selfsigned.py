"""A certificate that nobody trusts, made in memory: it answers while there is no other."""

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from facaded.tls.server_certificate import ServerCertificate

NAME = "facaded: self-signed, there is no certificate yet"
"""Its subject and issuer, for whoever looks at it."""

LIFE = timedelta(days=3650)
"""It ends with the process, which may run for years."""

SKEW = timedelta(days=1)
"""How far a client's clock may be behind."""


def make(hosts: tuple[str, ...], now: float) -> ServerCertificate:
    """Make a certificate for these host names and addresses; `now` in seconds since the epoch."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    moment = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - SKEW)
        .not_valid_after(moment + LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_general(hosts)), critical=False)
    return ServerCertificate.of((builder.sign(key, hashes.SHA256()),), key)


def _general(hosts: tuple[str, ...]) -> Iterator[x509.GeneralName]:
    for host in hosts:
        try:
            yield x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            yield x509.DNSName(host)
