"""TLS handshakes: selects the certificate for a client, and the protocol that the connection speaks.

A handshake reads no file: it looks the name up in a map, which is replaced as a whole.
"""

from collections.abc import Iterable

from attrs import frozen
from OpenSSL import SSL

from facaded.tls import contexts
from facaded.tls.challenges import ACME_TLS, Challenges
from facaded.tls.server_certificate import ServerCertificate

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
    a wildcard.
    """

    def __init__(
        self, certificates: Iterable[ActiveCertificate], substitutes: Iterable[ActiveCertificate] = ()
    ) -> None:
        valid, others = list(certificates), list(substitutes)
        self.default = [*valid, *others][0]
        self._by_name: dict[bytes, ActiveCertificate] = {}
        for active in valid:
            for name in active.certificate.names:
                self._by_name.setdefault(name.encode("ascii", "replace"), active)
        for active in others:
            for name in active.certificate.names:
                encoded = name.encode("ascii", "replace")
                if self._match(encoded) is None:
                    self._by_name[encoded] = active

    def __contains__(self, certificate: ActiveCertificate) -> bool:
        return certificate is self.default or certificate in self._by_name.values()

    def choose(self, name: bytes | None) -> ActiveCertificate:
        """Return the certificate for a name: an exact match, else a wildcard, else the default."""
        if not name:
            return self.default
        return self._match(name.lower()) or self.default

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
        """Switch to the certificate for the name that the client sent."""
        context = self.certificates.choose(connection.get_servername()).context
        if context is not connection.get_context():
            connection.set_context(context)

    def _select_protocol(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """Return one of the protocols that the client offers (RFC 7301); without a common one the handshake fails."""
        if ACME_TLS in offered and self._challenges.present(connection):
            return ACME_TLS
        if HTTP_1_1 in offered:
            return HTTP_1_1
        raise SSL.Error([("TLS", "ALPN", "no application protocol")])
