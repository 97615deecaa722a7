"""Challenges of a certificate authority that are waiting to be asked for: what http-01 and tls-alpn-01 must answer."""

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from OpenSSL import SSL

from facaded.tls.acme.challenges import ACME_TLS, PrivateKey
from facaded.tls.contexts import Pair, UnusableError, make

PENDING = 1000
"""Challenges of one kind that wait at a time: one for each name in an order."""


@define(eq=False)
class Challenges:
    """What is pending.

    Whoever orders certificates adds it before the authority is told to look, and removes it when that has decided. It
    is what `acme.challenges.Responders` wants.
    """

    _http: dict[str, bytes] = field(factory=dict, init=False)
    _alpn: dict[bytes, dict[bool, tuple[Pair, SSL.Context]]] = field(factory=dict, init=False)

    def add_http(self, token: str, key_authorization: str) -> None:
        """Answer `/.well-known/acme-challenge/TOKEN` on the plain port (RFC 8555 §8.3)."""
        self._bound(len(self._http))
        self._http[token] = key_authorization.encode("ascii")

    def remove_http(self, token: str) -> None:
        """No more; also where there is none."""
        self._http.pop(token, None)

    def add_alpn(self, name: str, chain_pem: bytes, key: PrivateKey) -> None:
        """Show this certificate to a validator that asks for `name` (RFC 8737). There may be one for each kind of key.

        Raises UnusableError.
        """
        self._bound(len(self._alpn))
        pair = Pair(tuple(x509.load_pem_x509_certificates(chain_pem)), key)
        by_kind = self._alpn.setdefault(name.lower().encode("ascii"), {})
        by_kind[isinstance(key, RSAPrivateKey)] = pair, make(pair, _validated, lambda _: None)

    def remove_alpn(self, name: str) -> None:
        """No more; also where there is none."""
        self._alpn.pop(name.lower().encode("ascii"), None)

    def answer(self, token: str) -> bytes | None:
        """The key authorization for a token."""
        return self._http.get(token)

    def present(self, connection: SSL.Connection) -> bool:
        """Show the certificate of a challenge in a handshake, while its protocol is chosen; says whether there is one.

        Where TLS 1.2 is spoken, OpenSSL has chosen its cipher already, by the certificate in service: that is then
        replaced in this connection, by one with a key of the same kind. With TLS 1.3 it is chosen later, from the
        connection's Context.
        """
        found = self._alpn.get((connection.get_servername() or b"").lower())
        if not found:
            return False
        if connection.get_protocol_version() >= SSL.TLS1_3_VERSION:
            connection.set_context(next(iter(found.values()))[1])
            return True
        shown = connection.get_certificate(as_cryptography=True)
        pair, _ = found.get(
            shown is not None and isinstance(shown.public_key(), RSAPublicKey), next(iter(found.values()))
        )
        connection.use_certificate(pair.chain[0])
        connection.use_privatekey(pair.key)
        return True

    def _bound(self, pending: int) -> None:
        if pending >= PENDING:
            raise UnusableError(f"more than {PENDING} challenges are pending: order fewer certificates at a time")


def _validated(_: SSL.Connection, __: list[bytes]) -> bytes:
    return ACME_TLS
