"""A TLS 1.3 client that asks for new keys (RFC 8446 §4.6.3), which Python's ssl module does not offer."""

import contextlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from facaded.tls.server_connection import ServerConnection

_CONTENT, _HANDSHAKE = 23, 22
_KEY_UPDATE = b"\x18\x00\x00\x01\x01"
"""A KeyUpdate with update_requested."""


class KeyUpdatingClient:
    """A client that has shaken hands with `server`, and makes its records itself; TLS_AES_128_GCM_SHA256 only."""

    def __init__(self, server: ServerConnection) -> None:
        secrets: dict[bytes, bytes] = {}
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")

        def note(_: SSL.Connection, line: bytes) -> None:
            label, *_random, secret = line.split()
            secrets[label] = bytes.fromhex(secret.decode("ascii"))

        context.set_keylog_callback(note)
        client = SSL.Connection(context)
        client.set_connect_state()
        for _ in range(2):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            server.feed(client.bio_read(1 << 16))
            if flight := b"".join(iter(server.take, b"")):
                client.bio_write(flight)
        assert not server.is_handshaking
        self._use(secrets[b"CLIENT_TRAFFIC_SECRET_0"])

    def send(self, content: bytes) -> bytes:
        """Return the record of this content."""
        return self._encrypt(content, _CONTENT)

    def update_keys(self) -> bytes:
        """Return a record that announces new keys and asks for others, and use the new keys from then on."""
        record = self._encrypt(_KEY_UPDATE, _HANDSHAKE)
        self._use(_expand(self._secret, b"traffic upd", 32))
        return record

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key, self._iv = AESGCM(_expand(secret, b"key", 16)), _expand(secret, b"iv", 12)
        self._sequence = 0

    def _encrypt(self, content: bytes, content_type: int) -> bytes:
        plaintext = content + bytes([content_type])
        header = b"\x17\x03\x03" + (len(plaintext) + 16).to_bytes(2, "big")
        nonce = (int.from_bytes(self._iv, "big") ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._key.encrypt(nonce, plaintext, header)


def _expand(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446 §7.1)."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(full)]) + full + b"\x00"
    return HKDFExpand(hashes.SHA256(), size, info).derive(secret)
