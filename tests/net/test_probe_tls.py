"""Probes of a server whose certificate is not trusted, over real connections on the loopback interface."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, wrapServerTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate

from facaded.backends.ladder import build_probe
from facaded.net.reactor import installed
from facaded.policy.health import Confirmations, ProbeDepth, Step, Verdict


def self_signed() -> PrivateCertificate:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "other")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])  # so that only the trust is missing
    pem = (
        builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    unencrypted = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    pem += key.private_bytes(serialization.Encoding.PEM, pkcs8, unencrypted)
    loaded: PrivateCertificate = PrivateCertificate.loadPEM(pem)
    return loaded


@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_not_trusted_is_a_failed_step() -> None:
    server = wrapServerTLS(self_signed().options(), TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
    port = await server.listen(Factory.forProtocol(Protocol))
    address: Any = port.getHost()
    probe = build_probe(installed(), f"https://127.0.0.1:{address.port}", None, None, 3.0, False)
    try:
        result = await probe(ProbeDepth(confirm=True))
    finally:
        stopped = port.stopListening()
        if isinstance(stopped, Deferred):
            await stopped
    assert (result.verdict, result.step, result.confirmations) == (Verdict.BAD, Step.PING, Confirmations(5, 5))
    assert result.reason.startswith("TLS: ")
