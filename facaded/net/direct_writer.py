"""Sends on a transport's socket at once, or at the end of the batch that is being read.

Twisted's transports send on the reactor's next turn, after they have registered for it that the socket can take
something. That costs more than the send itself, and nearly always the socket can.
"""

from collections.abc import Callable

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper

WAITING_SIZE = 16 << 10
"""Most bytes that wait for the end of a batch: its connections are many, and what is larger pauses its producer."""


class DirectWriter:
    """Writes to `transport`: directly on its socket, until that does not take all, and then as the transport does.

    Bytes in the transport's buffer must not be overtaken by others, nor those that wait here for the end of a batch. So
    create it before anything is written, and call `stop` before somebody else writes to the transport, and `flush`
    before somebody else closes it. Without a socket, and above a wrapper that changes what is written, such as TLS,
    nothing is sent directly.

    Batches are those of the transport's reactor, if that has any; see `BatchedReactor.postpone`.
    """

    __slots__ = ("_postpone", "_send", "_socket_transport", "_waiting", "_write")
    _send: Callable[[bytes], int] | None
    _postpone: Callable[[Callable[[], None]], bool] | None

    def __init__(self, transport: ITransport) -> None:
        self._write = transport.write
        self._socket_transport = connection = _below(transport)
        self._waiting = b""
        self._send = self._postpone = None
        if connection is not None and connection.connected:
            self._send = connection.getHandle().send
            self._postpone = getattr(connection.reactor, "postpone", None)

    def write(self, data: bytes) -> None:
        """Send bytes, after those of earlier calls. An error ends the connection later, as with the transport."""
        if len(self._waiting) + len(data) > WAITING_SIZE:
            self.flush()
            self._send_now(data)
        elif self._waiting:
            self._waiting += data
        elif self._send is not None and self._postpone is not None and self._postpone(self.flush):
            self._waiting = data
        else:
            self._send_now(data)

    def flush(self) -> None:
        """Send what waits for the end of the batch."""
        if self._waiting:
            data, self._waiting = self._waiting, b""
            self._send_now(data)

    def stop(self) -> None:
        """Send what waits, and nothing directly from now on."""
        self.flush()
        self._send = None

    def _send_now(self, data: bytes) -> None:
        send, connection = self._send, self._socket_transport
        if send is None or connection is None or connection.disconnecting:
            self._write(data)
            return
        try:
            sent = send(data)
        except OSError:
            sent = 0  # full or broken: the transport finds out which when it tries
        if sent != len(data):
            self._send = None
            self._write(data[sent:])


def _below(transport: object) -> Connection | None:
    """Return the transport with the socket, or None in memory and if a wrapper above it changes what is written."""
    while isinstance(transport, ProtocolWrapper) and type(transport).write is ProtocolWrapper.write:
        transport = transport.transport
    return transport if isinstance(transport, Connection) else None
