"""The channel between the first process and a worker: JSON objects over a Unix socket, each after its length."""

import json
import socket
import struct
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.net.json_objects import read_object

Message = dict[str, Any]
"""A message. Its "kind" says what the rest is."""

Tell = Callable[[str, Message], None]
"""Sends a message of a kind to a worker, or to all."""

MESSAGE_SIZE = 16 << 20
"""Bytes of the largest message: settings of 512 KiB, or some hundreds of certificates."""

MOST_VALUES = 1_000_000
"""Values of the most complex message; commas in the text of the settings count too."""

MOST_UNREAD = 4 * MESSAGE_SIZE
"""Bytes that wait for an end that does not read: it has stopped, and if it goes on, it begins anew."""

_LENGTH = struct.Struct("!I")
_CREDENTIALS = struct.Struct("3i")


@implementer(IPushProducer)
class ProcessChannel(Int32StringReceiver):
    """One end. `on_message` is called with each message, and `on_lost` once when the channel has ended.

    While the other end does not read, `is_blocked` is true: what may be lost should not be sent then.
    """

    _log = Logger()
    MAX_LENGTH = MESSAGE_SIZE
    noisy = False

    def __init__(
        self, on_message: Callable[["ProcessChannel", Message], None], on_lost: Callable[["ProcessChannel"], None]
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self.is_blocked = False
        self._unread = 0

    def connectionMade(self) -> None:
        self._transport.registerProducer(self, True)

    def send(self, kind: str, message: Message | None = None) -> None:
        """Send a message; after the end of the channel, do nothing."""
        if self.connected:
            string = json.dumps({"kind": kind, **(message or {})}).encode()
            self._transport.write(_LENGTH.pack(len(string)) + string)
            self._unread += len(string) if self.is_blocked else 0
            if self._unread > MOST_UNREAD:
                self.close()

    def stringReceived(self, string: bytes) -> None:
        message = read_object(string, MOST_VALUES)
        if message is None or not isinstance(message.get("kind"), str):
            self.close()
            return
        try:
            self._on_message(self, message)
        except Exception:
            self._log.failure("internal error in a message of another process")
            self.close()

    def lengthLimitExceeded(self, length: int) -> None:
        self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        Int32StringReceiver.connectionLost(self, reason)
        self._on_lost(self)

    def end(self) -> None:
        """End the channel when everything is sent."""
        if self.connected:
            self._transport.loseConnection()

    def close(self) -> None:
        """End the channel at once."""
        if self.connected:
            self._transport.abortConnection()

    def peer(self) -> tuple[int, int]:
        """Return the process and the user at the other end, as the kernel says (SO_PEERCRED, unix(7))."""
        credentials = self._transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        process, user, _ = _CREDENTIALS.unpack(credentials)
        return process, user

    @property
    def _transport(self) -> Any:
        return self.transport

    # Of IPushProducer: the transport tells the channel when the other end reads too slowly

    def pauseProducing(self) -> None:
        self.is_blocked = True

    def resumeProducing(self) -> None:
        self.is_blocked, self._unread = False, 0

    def stopProducing(self) -> None:
        """Do nothing: the channel has ended."""
