"""TLS between the socket's transport and the protocol of the content.

Twisted's TLSMemoryBIOProtocol is for clients and servers, and for any protocol and producer; with it, a connection of
six requests takes some 200 µs more, a fifth of what it takes without it. This is for a server whose client speaks
first. In one turn it decrypts all that has arrived, passes it on, encrypts all that was written meanwhile, and sends it
on the socket at once. It is no ProtocolWrapper, whose `__getattr__` makes every attribute slow.
"""

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import classImplements

from facaded.net.direct_writer import DirectWriter
from facaded.tls.server_connection import RECORD_SIZE, ServerConnection

_CUT_OFF = Failure(ConnectionLost("the client disconnected without a close_notify"))


class _OverTcp(Protocol):
    """Passes on to the transport below what concerns its socket."""

    transport: Any

    def logPrefix(self) -> str:
        return "TLS"

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()

    def getTcpNoDelay(self) -> bool:
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.transport.setTcpKeepAlive(enabled)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.stopProducing()

    def loseWriteConnection(self) -> None:
        """Do nothing: before TLS 1.3, a close_notify ends both directions (RFC 5246 §7.2.1)."""

    def getPeerCertificate(self) -> None:
        """Return None: clients are not asked for certificates."""


class SecureTransport(_OverTcp):
    """Passes what a client sends to `content`, decrypted by `tls`, and what that writes to the client, encrypted.

    `content` also provides IHandshakeListener. In the end it gets ConnectionLost if the client has not sent a
    close_notify, because somebody else may have cut the connection, and SSL.Error after a failure of TLS.
    """

    content: Any
    disconnecting = False
    _has_ended = False
    _has_producer = False
    _is_in_turn = False
    _next_flush: IDelayedCall | None = None

    def __init__(self, content: IProtocol, tls: ServerConnection, clock: IReactorTime) -> None:
        self.content = content
        self._tls = tls
        self._clock = clock

    def makeConnection(self, transport: ITransport) -> None:
        self.connected = 1
        self.transport = transport
        self._writer = DirectWriter(transport)
        self.content.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """Take what has arrived, pass on its content, and send what was written meanwhile."""
        if self._has_ended:
            return
        tls, content = self._tls, self.content
        if tls.is_handshaking:
            self.shake_hands(data)
        else:
            tls.feed(data)
        self._is_in_turn = True
        try:
            while tls.records and (received := tls.read()) and not self._has_ended:
                content.dataReceived(received)
        finally:
            self._is_in_turn = False
        if not self._has_ended:
            self._flush()

    def shake_hands(self, data: bytes) -> None:
        """Take what has arrived until the handshake is complete."""
        self._tls.feed(data)
        if not self._tls.is_handshaking:
            self.content.handshakeCompleted()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        tls = self._tls
        if tls.error is not None:
            reason = Failure(tls.error)
        elif not tls.has_ended and isinstance(reason.value, ConnectionDone):
            reason = _CUT_OFF
        self.connected = 0
        self._end()
        del self._tls
        content, self.content = self.content, None
        content.connectionLost(reason)

    def write(self, data: bytes) -> None:
        """Send bytes: at the end of this turn, or at once if there are enough for a record."""
        if self._has_ended or (self.disconnecting and not self._has_producer):
            return
        self._tls.write(data)
        if self._tls.unsent_size >= RECORD_SIZE:
            self._flush()
        elif not self._is_in_turn and self._next_flush is None:
            self._next_flush = self._clock.callLater(0, self._flush_later)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Send what was written, and a close_notify, and wait for the client's; abort during the handshake."""
        if self.disconnecting or self._has_ended:
            return
        if self._tls.is_handshaking:
            self.abortConnection()
            return
        self.disconnecting = True
        self._close()

    def abortConnection(self) -> None:
        """Disconnect without sending what is left."""
        self._end()
        self._writer.stop()
        ITCPTransport(self.transport).abortConnection()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause a streaming producer as long as the client does not read what was written."""
        assert streaming, "HTTPChannel, the producer, is a streaming one"
        self._has_producer = True
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._has_producer:
            self._has_producer = False
            self.transport.unregisterProducer()
            self._close()

    def _close(self) -> None:
        """Send the close_notify, if this is to be closed and nobody writes any more."""
        if self.disconnecting and not self._has_producer and not self._has_ended:
            self._tls.close()
            self._flush()

    def _flush(self) -> None:
        """Send what there is, and disconnect after the last of it."""
        tls = self._tls
        while tls.has_output and (records := tls.take()):
            self._writer.write(records)
        if tls.has_ended and not self._has_ended:
            self._end()
            self._writer.flush()
            self.unregisterProducer()  # if it were paused, the transport would resume it and not disconnect
            self.transport.loseConnection()

    def _flush_later(self) -> None:
        self._next_flush = None
        self._flush()

    def _end(self) -> None:
        self._has_ended = self.disconnecting = True
        if self._next_flush is not None:
            self._next_flush.cancel()
            self._next_flush = None


classImplements(SecureTransport, ITCPTransport, ISSLTransport, IPushProducer)
