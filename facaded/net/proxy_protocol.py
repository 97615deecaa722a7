"""The PROXY protocol: headers that Twisted's parser would fail on are refused before it sees them.

It raises errors for a port that is no number and for bytes that are not ASCII, and the reactor logs each with a
traceback.
"""

import re
from typing import Any

from twisted.internet.interfaces import IListeningPort, IProtocolFactory, ITCPTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

HEADER_SIZE = 107
"""Bytes of the longest header of version 1, with its CRLF ("The PROXY protocol", §2.1)."""

_ADDRESS = rb"[0-9A-Fa-f:.]{2,39}"
_VERSION_1 = re.compile(rb"PROXY (?:TCP[46] %s %s [0-9]{1,5} [0-9]{1,5}|UNKNOWN(?: [ -~]*)?)" % (_ADDRESS, _ADDRESS))
_VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_SIZE = 16
"""Bytes at the beginning of a header of version 2 that have the length of the rest."""


class HeaderGuard(ProtocolWrapper):
    """Passes on what a connection receives once that begins with a whole header; aborts the connection otherwise."""

    _start: bytes | None = b""

    def dataReceived(self, data: bytes) -> None:
        if self._start is None:
            ProtocolWrapper.dataReceived(self, data)
            return
        self._start += data
        match _is_header(self._start):
            case True:
                start, self._start = self._start, None
                ProtocolWrapper.dataReceived(self, start)
            case False:
                self._start = b""
                ITCPTransport(self.transport).abortConnection()


def _is_header(start: bytes) -> bool | None:
    """Return whether a connection that starts so begins with a header; None if that needs more bytes."""
    if _VERSION_2.startswith(start[: len(_VERSION_2)]):
        return True if len(start) >= _VERSION_2_SIZE else None
    line, end, _ = start[:HEADER_SIZE].partition(b"\r\n")
    if end:
        return _VERSION_1.fullmatch(line) is not None
    may_become_one = len(start) < HEADER_SIZE and b"PROXY ".startswith(line[:6])
    return None if may_become_one else False


class GuardedReactor:
    """Listens as a reactor does, with a guard for the headers of all connections.

    It has the methods of IReactorTCP, IReactorUNIX and IReactorSocket that endpoints use.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def listenTCP(self, port: int, factory: IProtocolFactory, *arguments: Any, **named: Any) -> IListeningPort:
        listening: IListeningPort = self._reactor.listenTCP(port, guard_headers(factory), *arguments, **named)
        return listening

    def listenUNIX(self, address: str, factory: IProtocolFactory, *arguments: Any, **named: Any) -> IListeningPort:
        listening: IListeningPort = self._reactor.listenUNIX(address, guard_headers(factory), *arguments, **named)
        return listening

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        listening: IListeningPort = self._reactor.adoptStreamPort(fileDescriptor, addressFamily, guard_headers(factory))
        return listening


def guard_headers(factory: IProtocolFactory) -> WrappingFactory[HeaderGuard]:
    """Return a factory whose connections pass only valid headers to those of `factory`."""
    wrapping: WrappingFactory[HeaderGuard] = WrappingFactory(factory)
    wrapping.protocol = HeaderGuard
    wrapping.noisy = False
    return wrapping
