"""OpenSSL Contexts, one for each certificate.

A Context must not change after its first connection, so a new certificate always gets a new one.
"""

import contextlib
from collections.abc import Callable
from typing import TypeAlias

from OpenSSL import SSL

from facaded.tls.server_certificate import ServerCertificate, UnusableError

CIPHER_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2: only forward secrecy and authenticated encryption, as in TLS 1.3. Clients support them since 2014."""

CIPHER_SUITES_OF_TLS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""For TLS 1.3: OpenSSL's own, but in the order of Go's servers. SHA-256 makes a handshake 7 % cheaper than SHA-384."""

MAX_EXCHANGES = 10
"""Exchanges in which a handshake in memory finishes; TLS 1.2 needs three."""

SelectProtocol: TypeAlias = Callable[[SSL.Connection, list[bytes]], bytes]
"""Selects one of the protocols that a client offers (ALPN), or raises SSL.Error."""

SelectCertificate: TypeAlias = Callable[[SSL.Connection], None]
"""Selects the certificate when a client has sent the name that it wants (SNI)."""


def make_context(
    certificate: ServerCertificate, select_protocol: SelectProtocol, select_certificate: SelectCertificate
) -> SSL.Context:
    """Return a new Context with this certificate. Raises UnusableError if OpenSSL rejects it."""
    try:
        _test_handshake(_bare_context(certificate))
    except SSL.Error as error:
        reason = error.args[0][-1][-1] if error.args and error.args[0] else "no reason given"
        remedy = "use a chain with ECDSA keys, or RSA keys of at least 2048 bits, and SHA-256 signatures"
        raise UnusableError(f"OpenSSL rejects the certificate ({reason}): {remedy}") from None
    context = _bare_context(certificate)
    context.set_alpn_select_callback(select_protocol)
    context.set_tlsext_servername_callback(select_certificate)
    return context


def _bare_context(certificate: ServerCertificate) -> SSL.Context:
    """Return a Context without callbacks. Raises SSL.Error if OpenSSL rejects the leaf certificate or its key."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    # No session resumption, neither tickets nor a cache: stored sessions would outlive the certificate, and the
    # clients of a registry (nearly all of them Go's) do not resume.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHER_SUITES)
    context.set_tls13_ciphersuites(CIPHER_SUITES_OF_TLS_1_3)
    context.use_certificate(certificate.chain[0])
    for issuer in certificate.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(certificate.key)
    context.check_privatekey()
    return context


def _test_handshake(context: SSL.Context) -> None:
    """Complete a handshake in memory: only then does OpenSSL check the rest of the chain. Raises SSL.Error."""
    server, client = SSL.Connection(context), SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(MAX_EXCHANGES):
        for sender, receiver in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                sender.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                receiver.bio_write(sender.bio_read(1 << 18))
