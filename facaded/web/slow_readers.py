"""Clients that read their answers slowly, or not at all: what is buffered for them, and when they are disconnected."""

import socket
import termios
from array import array
from collections.abc import Callable
from fcntl import ioctl

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorTime, ITransport

from facaded.web.deadline import Deadline
from facaded.web.unsent_bytes import UnsentBytes

BUFFER_SIZE = 16 << 10
"""Bytes that a transport buffers before it pauses what writes to it. With Twisted's default, 64 KiB, 1,000 clients that
read nothing would use up the default budget."""

KERNEL_BUFFER_SIZE = 32 << 10
"""Bytes that the kernel takes from a TCP transport ahead of what the client's window allows. By itself, Linux takes 2.5
MiB for each client that reads nothing, which counts as memory of the unit."""

CHECKS = 5
"""Checks of a client's progress within `stall_time`, so that it is disconnected a fifth of that time late at most."""


def limit_buffers(transport: ITransport) -> None:
    """Limit what a transport buffers for a client. Do nothing without a socket."""
    descriptor = _descriptor(transport)
    if descriptor is not None:
        descriptor.bufferSize = BUFFER_SIZE


def limit_kernel_buffers(listening: socket.socket) -> None:
    """Limit what the kernel buffers for each client of a listening socket: connections over TCP inherit that."""
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BUFFER_SIZE)


class StallTimer:
    """Calls `expired` if the client takes nothing for the stall time of `unsent` while the transport's buffer is full.

    Without `unsent` it never does.

    A slow client is not disconnected as long as it reads, even if that does not empty the buffer: what the kernel
    has not delivered shrinks with each acknowledgement, and what the transport has left with each byte that the kernel
    takes.
    """

    def __init__(
        self, transport: ITransport, clock: IReactorTime, unsent: UnsentBytes | None, expired: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._unsent = unsent
        self._expired: Callable[[], None] | None = expired
        self._deadline = Deadline(clock, self._check)
        self._checks_left = CHECKS
        self._left: tuple[int, int] = (0, 0)

    def start(self) -> None:
        """Begin, because the transport's buffer is full."""
        if self._unsent is not None:
            self._left = _bytes_left(self._transport)
            self._restart()

    def stop(self) -> None:
        """Stop, because the client has read what was in the buffer."""
        self._deadline.clear()

    def end(self) -> None:
        """Never expire again, because the client has disconnected, and release `expired`."""
        self._deadline.end()
        self._expired = None

    def _restart(self) -> None:
        self._checks_left = CHECKS
        self._set_deadline()

    def _set_deadline(self) -> None:
        assert self._unsent is not None
        self._deadline.set(self._unsent.stall_time / CHECKS)

    def _check(self) -> None:
        left, before = _bytes_left(self._transport), self._left
        self._left = left
        if left != before:
            self._restart()
            return
        self._checks_left -= 1
        if self._checks_left:
            self._set_deadline()
        elif self._expired is not None:
            self._expired()


def _bytes_left(transport: ITransport) -> tuple[int, int]:
    """Return the bytes that the kernel and the transport have left to send; zeros without a socket.

    Those in the kernel are SIOCOUTQ of tcp(7) and unix(7), which Linux also calls TIOCOUTQ.
    """
    descriptor = _descriptor(transport)
    if descriptor is None or descriptor.fileno() < 0:
        return 0, 0
    in_kernel = array("i", [0])
    ioctl(descriptor.fileno(), termios.TIOCOUTQ, in_kernel)
    return in_kernel[0], len(descriptor.dataBuffer) - descriptor.offset


def _descriptor(transport: object) -> FileDescriptor | None:
    """Return the socket's transport below TLS and other wrappers; None in memory."""
    while not isinstance(transport, FileDescriptor) and transport is not None:
        transport = getattr(transport, "transport", None)
    return transport
