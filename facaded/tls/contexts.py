"""What OpenSSL speaks TLS with: a certificate in a Context of its own.

A Context must not change after its first connection: for a new certificate there is always a new one.
"""

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from OpenSSL import SSL

from facaded.tls.server_certificate import ServerCertificate, UnusableError

SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption alone, as in TLS 1.3. Every client since 2014 has it."""

TURNS = 10
"""Exchanges in which a handshake in memory is over; TLS 1.2 needs three."""

SelectProtocol: TypeAlias = Callable[[SSL.Connection, list[bytes]], bytes]
"""Chooses among the protocols that a client offers (ALPN), or raises SSL.Error."""

SwitchName: TypeAlias = Callable[[SSL.Connection], None]
"""Called when a client has said the name that it wants (SNI)."""


def make(certificate: ServerCertificate, select: SelectProtocol, switch: SwitchName) -> SSL.Context:
    """Return a new Context that speaks with this certificate. Raises UnusableError if OpenSSL does not."""
    try:
        _try(_context(certificate))
    except SSL.Error as error:
        reason = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
        remedy = "get one whose chain has ECDSA keys, or RSA keys of 2048 bits or more, and SHA-256"
        raise UnusableError(f"OpenSSL does not accept the certificate ({reason}): {remedy}") from None
    context = _context(certificate)
    context.set_alpn_select_callback(select)
    context.set_tlsext_servername_callback(switch)
    return context


def _context(certificate: ServerCertificate) -> SSL.Context:
    """Raises SSL.Error if OpenSSL refuses the certificate itself, or its key."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # No resumption, by tickets or otherwise: what would be kept outlives the certificate, and the clients of a
    # registry (Go's, nearly all) do not resume.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(SUITES)
    context.use_certificate(certificate.chain[0])
    for issuer in certificate.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(certificate.key)
    context.check_privatekey()
    return context


def _try(context: SSL.Context) -> None:
    """Shake hands in memory: OpenSSL looks at the rest of a chain only then. Raises SSL.Error."""
    server, client = SSL.Connection(context), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(TURNS):
        for here, there in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                here.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                there.bio_write(here.bio_read(1 << 18))
