"""Both ends of a TLS connection in memory: a server's SSL.Connection, and a client of Python's ssl module."""

import contextlib
import ssl
from functools import cache

from OpenSSL import SSL

from facaded.tls.contexts import make_context
from tests.tls.authority import Authority, trusting


@cache
def server_context() -> SSL.Context:
    """A context with one certificate, which speaks the first protocol that is offered."""
    return make_context(Authority().certificate("docker.lab.test"), lambda _, offered: offered[0], lambda _: None)


class ClientEnd:
    """The client: bytes of the server in, bytes for the server out."""

    def __init__(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = trusting(versions=(version, version))
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="docker.lab.test")
        self.content = b""
        self.has_ended = False

    def shake_hands(self, received: bytes = b"") -> bytes:
        """Take what was received, and return what to send for the handshake."""
        self.incoming.write(received)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def send(self, content: bytes) -> bytes:
        """Return the record of this content."""
        self.tls.write(content)
        return self.outgoing.read()

    def close(self) -> bytes:
        """Return a close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    def receive(self, received: bytes) -> bytes:
        """Add the content of these records to `content`, note a close_notify, and return an answer to it."""
        self.incoming.write(received)
        try:
            while content := self.tls.read(1 << 16):
                self.content += content
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return self.outgoing.read()
