"""Challenges of a certificate authority that are waiting to be asked for: what http-01 and tls-alpn-01 must answer."""

from attrs import define, field
from OpenSSL import SSL

from facaded.tls.contexts import Pair, UnusableError, make, parse

ACME_TLS = b"acme-tls/1"
"""The protocol that a validator of tls-alpn-01 offers, and it alone (RFC 8737 §3)."""

PENDING = 1000
"""Challenges of one kind that wait at a time: one for each name in an order."""


@define(eq=False)
class Challenges:
    """What is pending.

    Whoever orders certificates adds it before the authority is told to look, and removes it when that has decided.
    """

    _http: dict[str, bytes] = field(factory=dict, init=False)
    _alpn: dict[bytes, tuple[Pair, SSL.Context]] = field(factory=dict, init=False)

    def add_http(self, token: str, key_authorization: str) -> None:
        """Answer `/.well-known/acme-challenge/TOKEN` on the plain port (RFC 8555 §8.3)."""
        self._bound(len(self._http))
        self._http[token] = key_authorization.encode("ascii")

    def remove_http(self, token: str) -> None:
        """No more; also where there is none."""
        self._http.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key_pem: bytes) -> None:
        """Show this certificate to a validator that asks for `name` (RFC 8737).

        Its key must be of the kind of the name's certificate in service, see `Certificates.has_rsa_key`. Raises
        UnusableError.
        """
        self._bound(len(self._alpn))
        pair = parse(chain_pem, key_pem)
        self._alpn[name.lower().encode("ascii")] = pair, make(pair, _validated, lambda _: None)

    def remove_alpn(self, name: str) -> None:
        """No more; also where there is none."""
        self._alpn.pop(name.lower().encode("ascii"), None)

    def answer(self, token: str) -> bytes | None:
        """The key authorization for a token."""
        return self._http.get(token)

    def present(self, connection: SSL.Connection) -> bool:
        """Show the certificate of a challenge in a handshake, while its protocol is chosen; says whether there is one.

        OpenSSL has chosen its certificate already where TLS 1.2 is spoken: what stands in its place is then replaced in
        this connection. With TLS 1.3 it is chosen later, from the connection's Context.
        """
        found = self._alpn.get((connection.get_servername() or b"").lower())
        if found is None:
            return False
        pair, context = found
        if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            connection.set_context(context)
        else:
            connection.use_certificate(pair.chain[0])
            connection.use_privatekey(pair.key)
        return True

    def _bound(self, pending: int) -> None:
        if pending >= PENDING:
            raise UnusableError(f"more than {PENDING} challenges are pending: order fewer certificates at a time")


def _validated(_: SSL.Connection, __: list[bytes]) -> bytes:
    return ACME_TLS
