"""Sends on a transport's socket at once.

Twisted's transports send on the reactor's next turn, after they have registered for it that the socket can take
something. That costs more than the send itself, and nearly always the socket can.
"""

from collections.abc import Callable

from twisted.internet.interfaces import ITransport
from twisted.internet.tcp import Connection
from twisted.protocols.policies import ProtocolWrapper


class DirectWriter:
    """Writes to `transport`: at once on its socket, until that does not take all, and then as the transport does.

    Bytes in the transport's buffer must not be overtaken by others. So create it before anything is written, and call
    `stop` before somebody else writes to the transport or aborts it. Without a socket, and above a wrapper that changes
    what is written, such as TLS, nothing is sent directly.
    """

    __slots__ = ("_send", "_socket_transport", "_write")
    _send: Callable[[bytes], int] | None

    def __init__(self, transport: ITransport) -> None:
        self._write = transport.write
        self._socket_transport = _below(transport)
        self._send = None
        if self._socket_transport is not None and self._socket_transport.connected:
            self._send = self._socket_transport.getHandle().send

    def write(self, data: bytes) -> None:
        """Send bytes, after those of earlier calls. An error ends the connection later, as with the transport."""
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

    def stop(self) -> None:
        """Send nothing directly from now on."""
        self._send = None


def _below(transport: object) -> Connection | None:
    """Return the transport with the socket, or None in memory and if a wrapper above it changes what is written."""
    while isinstance(transport, ProtocolWrapper) and type(transport).write is ProtocolWrapper.write:
        transport = transport.transport
    return transport if isinstance(transport, Connection) else None
