"""An ACME CA for tests: Debian's pebble with pebble-challtestsrv as its DNS server, and a challenge responder."""

import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer

from facaded.tls.acme.settings import CertificateAuthority
from facaded.tls.challenges import ACME_TLS, challenge_certificate
from facaded.tls.server_certificate import PrivateKey
from tests.process.daemon import free_port, wait_until

ACCOUNT_SECRETS = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
"""Keys for external account binding (RFC 8555 §7.3.4) by their IDs."""


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_api_certificate(host: str, directory: Path) -> Path:
    """Write a self-signed certificate for pebble's API and, beside it, its key; return the certificate's path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble's API")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "api-key.pem").write_bytes(_pem(key))
    path = directory / "api.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


@define
class Pebble:
    """pebble at `host`, with `pebble-challtestsrv` as its DNS server.

    It validates challenges on `http_port` and `tls_port` of the address that its DNS server returns: by default
    `validation_address`. `environ` holds pebble's PEBBLE_* variables; without any, pebble rejects nonces and reuses
    authorizations at its default rates. With `account_required`, it demands external account binding.
    """

    directory: Path
    host: str
    http_port: int
    tls_port: int
    validation_address: str
    environ: dict[str, str] = field(factory=dict)
    account_required: bool = False
    api_port: int = 0
    management_port: int = 0
    dns_port: int = 0
    dns_management_port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(factory=list)

    @property
    def authority(self) -> CertificateAuthority:
        return CertificateAuthority(
            directory=f"https://{self.host}:{self.api_port}/dir", ca_file=self.directory / "api.pem"
        )

    @property
    def log(self) -> str:
        return (self.directory / "pebble.log").read_text()

    def start(self) -> "Pebble":
        self.directory.mkdir(parents=True, exist_ok=True)
        self.api_port, self.management_port, self.dns_port, self.dns_management_port = (
            free_port(self.host) for _ in range(4)
        )
        api = _write_api_certificate(self.host, self.directory)
        settings: dict[str, Any] = {
            "listenAddress": f"{self.host}:{self.api_port}",
            "managementListenAddress": f"{self.host}:{self.management_port}",
            "certificate": str(api),
            "privateKey": str(self.directory / "api-key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": self.account_required,
            **({"externalAccountMACKeys": ACCOUNT_SECRETS} if self.account_required else {}),
        }
        (self.directory / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self._spawn(
            "dns.log",
            "pebble-challtestsrv",
            *("-management", f"{self.host}:{self.dns_management_port}", "-dns01", f"{self.host}:{self.dns_port}"),
            *(
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-defaultIPv4",
                self.validation_address,
                "-defaultIPv6",
                "",
            ),
        )
        self.start_pebble()
        return self

    def start_pebble(self) -> None:
        """Start the CA, which keeps no accounts or orders from an earlier run; the DNS server must be running."""
        self._spawn(
            "pebble.log",
            *("pebble", "-config", str(self.directory / "pebble.json"), "-dnsserver", f"{self.host}:{self.dns_port}"),
        )
        wait_until(self._is_ready, "pebble is ready")

    def stop_pebble(self) -> None:
        self._kill(self.processes.pop())

    def stop(self) -> None:
        while self.processes:
            self._kill(self.processes.pop())

    def fetch_root(self) -> bytes:
        """Return the root of the certificates that pebble issues, in PEM form."""
        return self.fetch("/roots/0", self.management_port)

    def fetch(self, path: str, port: int) -> bytes:
        context = ssl.create_default_context(cafile=str(self.directory / "api.pem"))
        with urllib.request.urlopen(f"https://{self.host}:{port}{path}", context=context, timeout=5) as response:
            body: bytes = response.read()
            return body

    def set_addresses(self, name: str, *addresses: str) -> None:
        """Set the addresses that the DNS server returns for a name; without any, it returns SERVFAIL."""
        if addresses:
            self._configure_dns("add-a", {"host": name, "addresses": list(addresses)})
        else:
            self._configure_dns("set-servfail", {"host": name})

    def _configure_dns(self, action: str, document: dict[str, Any]) -> None:
        url = f"http://{self.host}:{self.dns_management_port}/{action}"
        with urllib.request.urlopen(url, json.dumps(document).encode(), timeout=5) as response:
            assert response.status == 200

    def _is_ready(self) -> bool:
        try:
            return bool(self.fetch("/dir", self.api_port))
        except OSError:
            return False

    def _spawn(self, log: str, *command: str) -> None:
        environ = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", **self.environ}
        with (self.directory / log).open("ab") as file:
            self.processes.append(subprocess.Popen(command, stdout=file, stderr=file, env=environ))

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()


class Responder:
    """Answers challenges as the daemon does, on two ports of `host`: plain HTTP, and TLS up to `max_tls_version`.

    `site_key` is the key of its own certificate. TLS 1.2 chooses a cipher for this key before it negotiates ALPN.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.http_port, self.tls_port = free_port(host), free_port(host)
        self.tokens: dict[str, str] = {}
        self.certificates: dict[str, list[tuple[bytes, PrivateKey]]] = {}
        self.requests: list[str] = []
        self.challenge_kinds: set[str] = set()
        self.max_tls_version = SSL.TLS1_3_VERSION
        self.site_key: PrivateKey = ec.generate_private_key(ec.SECP256R1())
        self._ports: list[IListeningPort] = []

    def start(self, reactor: Any) -> None:
        self.listen(reactor, self.http_port, Site(_TokenResource(self)))
        creator = _ConnectionCreator(self)
        self.listen(reactor, self.tls_port, TLSMemoryBIOFactory(creator, False, Factory.forProtocol(Protocol)))

    def listen(self, reactor: Any, port: int, factory: Any) -> None:
        self._ports.append(reactor.listenTCP(port, factory, interface=self.host))

    def stop(self) -> Deferred[Any]:
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def add_http(self, token: str, key_authorization: str) -> None:
        self.challenge_kinds.add("http-01")
        self.tokens[token] = key_authorization

    def remove_http(self, token: str) -> None:
        self.tokens.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        self.challenge_kinds.add("tls-alpn-01")
        self.certificates.setdefault(name, []).append((chain_pem, key))

    def remove_alpn(self, name: str) -> None:
        self.certificates.pop(name, None)


class _TokenResource(Resource):
    isLeaf = True

    def __init__(self, responder: Responder) -> None:
        Resource.__init__(self)
        self._responder = responder

    def render_GET(self, request: Request) -> bytes:
        path = request.path.decode()
        self._responder.requests.append(path)
        key_authorization = self._responder.tokens.get(path.removeprefix("/.well-known/acme-challenge/"))
        if key_authorization is None:
            request.setResponseCode(404)
        return (key_authorization or "").encode()


@implementer(IOpenSSLServerConnectionCreator)
class _ConnectionCreator:
    """Selects the challenge's certificate when a client negotiates acme-tls/1.

    TLS 1.2 has chosen its cipher by then, so the certificate's key must be of the same type as the context's key.
    """

    def __init__(self, responder: Responder) -> None:
        self._responder = responder

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(self._responder.max_tls_version)
        context.set_alpn_select_callback(self._select)
        site_key = self._responder.site_key
        _use_certificate(context, challenge_certificate("site.test", "not a challenge's", site_key), site_key)
        return SSL.Connection(context, None)

    def _select(self, connection: SSL.Connection, protocols: list[bytes]) -> Any:
        if protocols != [ACME_TLS]:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        name = (connection.get_servername() or b"").decode()
        self._responder.requests.append(name)
        for chain, key in self._responder.certificates.get(name, ()):
            _use_certificate(connection, chain, key)
        return ACME_TLS


def _use_certificate(target: SSL.Context | SSL.Connection, chain: bytes, key: PrivateKey) -> None:
    target.use_certificate(x509.load_pem_x509_certificate(chain))
    target.use_privatekey(key)
