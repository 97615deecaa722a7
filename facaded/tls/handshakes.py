"""Handshakes: which certificate a client is shown, and which protocol is spoken with it.

A handshake reads no file: it looks into a map, which is replaced whole.
"""

from collections.abc import Iterable

from attrs import frozen
from OpenSSL import SSL

from facaded.tls import contexts
from facaded.tls.challenges import ACME_TLS, Challenges
from facaded.tls.server_certificate import ServerCertificate

HTTP = b"http/1.1"
"""The one protocol that is spoken over TLS."""


@frozen(eq=False)
class ActiveCertificate:
    """A certificate in service, with the Context that speaks with it. `source` is where it is from."""

    certificate: ServerCertificate
    context: SSL.Context
    source: str

    def __str__(self) -> str:
        names = ", ".join(self.certificate.names) or "no name"
        return f"{names} ({self.certificate.issuer}), from {self.source}"

    def has_expired(self, now: float) -> bool:
        """Return whether it has; `now` in seconds since the epoch."""
        return self.certificate.life.ends <= now


class SniMap:
    """The certificates in service by the name that a client asks for (SNI, RFC 6066 §3); the first is the default."""

    def __init__(self, certificates: Iterable[ActiveCertificate]) -> None:
        listed = list(certificates)
        self.default = listed[0]
        self._by_name: dict[bytes, ActiveCertificate] = {}
        for each in listed:
            for name in each.certificate.names:
                self._by_name.setdefault(name.encode("ascii", "replace"), each)

    def __contains__(self, certificate: ActiveCertificate) -> bool:
        return certificate is self.default or certificate in self._by_name.values()

    def choose(self, name: bytes | None) -> ActiveCertificate:
        """Return the certificate for a name, that of its wildcard, or the default."""
        if not name:
            return self.default
        name = name.lower()
        found = self._by_name.get(name) or self._by_name.get(b"*." + name.partition(b".")[2])
        return found or self.default


class Handshakes:
    """Begins connections. `certificates` is set before the first, and replaced as certificates change."""

    certificates: SniMap

    def __init__(self, challenges: Challenges) -> None:
        self._challenges = challenges

    def activate(self, certificate: ServerCertificate, source: str) -> ActiveCertificate:
        """Return a certificate ready to be shown. Raises UnusableError if OpenSSL does not take it."""
        return ActiveCertificate(certificate, contexts.make(certificate, self._select, self._switch), source)

    def begin(self) -> SSL.Connection:
        """Return a connection that begins with the default certificate."""
        return SSL.Connection(self.certificates.default.context)

    def _switch(self, connection: SSL.Connection) -> None:
        """The client has said a name."""
        context = self.certificates.choose(connection.get_servername()).context
        if context is not connection.get_context():
            connection.set_context(context)

    def _select(self, connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """The client has said its protocols (RFC 7301); without one in common the handshake fails."""
        if ACME_TLS in offered and self._challenges.present(connection):
            return ACME_TLS
        if HTTP in offered:
            return HTTP
        raise SSL.Error([("TLS", "ALPN", "no application protocol")])
