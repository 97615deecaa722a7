"""TLS handshakes: selects the certificate for a client, and the protocol that the connection speaks.

A handshake reads no file: it looks the name up in a map, which is replaced as a whole.
"""

from collections.abc import Iterable

from attrs import frozen
from OpenSSL import SSL

from facaded.net.addresses import is_address
from facaded.tls import contexts
from facaded.tls.challenges import ACME_TLS, Challenges
from facaded.tls.server_certificate import ServerCertificate

MAPPED = "::ffff:"
"""How the address of an IPv4 connection begins on a socket for both families (RFC 4291 §2.5.5.2)."""

HTTP_1_1 = b"http/1.1"
"""The only protocol that facaded speaks over TLS."""


@frozen(eq=False)
class ActiveCertificate:
    """A certificate in service, with its OpenSSL Context. `source` is where it comes from."""

    certificate: ServerCertificate
    context: SSL.Context
    source: str

    def __str__(self) -> str:
        names = ", ".join(self.certificate.names) or "no name"
        return f"{names} ({self.certificate.issuer}), from {self.source}"

    def has_expired(self, now: float) -> bool:
        """Return whether it has expired; `now` is in seconds since the epoch."""
        return self.certificate.validity.end <= now


class SniMap:
    """Maps the name that a client asks for (SNI, RFC 6066 §3) to a certificate; the first one is the default.

    The `substitutes`, which are expired or self-signed, are only for names that no other certificate has, not even with
    a wildcard. Addresses among their names mean nothing: without a name, a valid certificate is better.
    """

    def __init__(
        self, certificates: Iterable[ActiveCertificate], substitutes: Iterable[ActiveCertificate] = ()
    ) -> None:
        valid, others = list(certificates), list(substitutes)
        self.default = [*valid, *others][0]
        self._by_name: dict[bytes, ActiveCertificate] = {}
        self._by_address: dict[str, ActiveCertificate] = {}
        for active in valid:
            for name in active.certificate.names:
                self._by_name.setdefault(name.encode("ascii", "replace"), active)
                if is_address(name):
                    self._by_address.setdefault(name, active)
        for active in others:
            for name in active.certificate.names:
                encoded = name.encode("ascii", "replace")
                if not is_address(name) and self._match(encoded) is None:
                    self._by_name[encoded] = active

    def __contains__(self, certificate: ActiveCertificate) -> bool:
        return certificate is self.default or certificate in self._by_name.values()

    @property
    def has_addresses(self) -> bool:
        """Whether one of the valid certificates is for an IP address."""
        return bool(self._by_address)

    def choose(self, name: bytes | None, local_address: str = "") -> ActiveCertificate:
        """Return the certificate for a name: an exact match, else a wildcard, else the default.

        A client that connects to an address sends no name (RFC 6066 §3). It gets the certificate for `local_address`,
        where its connection has arrived. Behind address translation that is another address than the one that the
        client knows: then it gets the first certificate for an address of the same family, else for any.
        """
        if name:
            return self._match(name.lower()) or self.default
        if not self._by_address:
            return self.default
        local = local_address.removeprefix(MAPPED)
        same_family = (active for address, active in self._by_address.items() if (":" in address) == (":" in local))
        return self._by_address.get(local) or next(same_family, None) or next(iter(self._by_address.values()))

    def _match(self, name: bytes) -> ActiveCertificate | None:
        return self._by_name.get(name) or self._by_name.get(b"*." + name.partition(b".")[2])


class Handshakes:
    """Creates connections. Set `certificates` before the first one, and replace it when certificates change."""

    certificates: SniMap

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    def activate(self, certificate: ServerCertificate, source: str) -> ActiveCertificate:
        """Return the certificate with its Context. Raises UnusableError if OpenSSL rejects it."""
        context = contexts.make_context(certificate, self._select_protocol, self._select_certificate)
        return ActiveCertificate(certificate, context, source)

    def new_connection(self) -> SSL.Connection:
        """Return a connection that starts with the default certificate."""
        return SSL.Connection(self.certificates.default.context)

    def _select_certificate(self, connection: SSL.Connection) -> None:
        """Switch to the certificate for the name that the client sent, or for the address that it has connected to."""
        name = connection.get_servername()
        context = self.certificates.choose(name, "" if name else connection.get_app_data() or "").context
        if context is not connection.get_context():
            connection.set_context(context)

    def _select_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """Return one of the protocols that the client offers (RFC 7301); without a common one the handshake fails."""
        if ACME_TLS in offered and self._challenges.present(connection):
            return ACME_TLS
        if HTTP_1_1 in offered:
            return HTTP_1_1
        raise SSL.Error([("TLS", "ALPN", "no application protocol")])
