"""A certificate authority in memory, and TLS handshakes without sockets."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from facaded.tls.certificate_files import CertificateFiles
from facaded.tls.server_certificate import PrivateKey, ServerCertificate, parse
from facaded.tls.subject_names import alternative_names

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@cache
def rsa_key(size: int = 2048) -> rsa.RSAPrivateKey:
    """Return the same key for all tests, because generating one is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@define
class Authority:
    """A root CA, and an intermediate CA that issues certificates."""

    root_key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: ec.EllipticCurvePrivateKey = field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    root: x509.Certificate = field(init=False)
    intermediate: x509.Certificate = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.root = self._signed("Root", "Root", self.root_key, self.root_key, None)
        self.intermediate = self._signed("Lab CA", "Root", self.key, self.root_key, None)

    def issue(
        self,
        *names: str,
        key: PrivateKey | None = None,
        begins: datetime = NOW - DAY,
        ends: datetime = NOW + 90 * DAY,
        extension: x509.ExtensionType | None = None,
    ) -> tuple[bytes, bytes]:
        """Return a chain without the root, and its key, both in PEM."""
        leaf_key = key or ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(names[0], "Lab CA", leaf_key, self.key, names, begins, ends, extension)
        return pem(leaf) + pem(self.intermediate), key_pem(leaf_key)

    def certificate(self, *names: str, **options: Any) -> ServerCertificate:
        """Issue a certificate, and return it parsed; `options` are those of `issue`."""
        return parse(*self.issue(*names, **options))

    def write(self, directory: Path, *names: str, key: PrivateKey | None = None) -> CertificateFiles:
        """Issue a certificate, and write it to files."""
        directory.mkdir(parents=True, exist_ok=True)
        files = CertificateFiles(directory / "fullchain.pem", directory / "privkey.pem")
        put(files, *self.issue(*names, key=key))
        return files

    def _signed(
        self,
        subject: str,
        issuer: str,
        key: PrivateKey,
        issuer_key: ec.EllipticCurvePrivateKey,
        names: tuple[str, ...] | None,
        begins: datetime = NOW - DAY,
        ends: datetime = NOW + 90 * DAY,
        extension: x509.ExtensionType | None = None,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names is not None:
            builder = builder.add_extension(alternative_names(names), critical=False)
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(issuer_key, hashes.SHA256())


def put(files: CertificateFiles, chain: bytes, key: bytes) -> None:
    """Overwrite the files of a pair."""
    files.chain.write_bytes(chain)
    files.key.write_bytes(key)
    files.key.chmod(0o640)


@define
class HandshakeClient:
    """The client's side of a handshake."""

    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    server: SSL.Connection

    @property
    def certificate(self) -> x509.Certificate:
        der = self.tls.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der)

    @property
    def names(self) -> set[str]:
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return set(extension.value.get_values_for_type(x509.DNSName))


def trusting(
    authority: Authority | None = None,
    protocols: tuple[str, ...] = (),
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
) -> ssl.SSLContext:
    """Return a client's context that trusts the authority's root, or without one any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=pem(authority.root).decode())
    context.minimum_version, context.maximum_version = versions
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def handshake(
    server: SSL.Connection, context: ssl.SSLContext, name: str | None, session: ssl.SSLSession | None = None
) -> HandshakeClient:
    """Shake hands. Raises ssl.SSLError for the client, SSL.Error for the server."""
    server.set_accept_state()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    client = HandshakeClient(tls, incoming, outgoing, server)
    is_done = False
    for _ in range(10):
        try:
            tls.do_handshake()
            is_done = True
        except ssl.SSLWantReadError:
            pass
        if data := outgoing.read():
            server.bio_write(data)
        server_error = None
        try:
            server.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            server_error = error
        try:
            incoming.write(server.bio_read(1 << 16))
        except SSL.WantReadError:
            if is_done:
                return client
        if server_error is not None:
            tls.do_handshake()  # the client reads the alert
            raise server_error
    raise AssertionError("the handshake did not finish")
