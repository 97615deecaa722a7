"""The address of a client: that of its connection, or the one that a trusted proxy says.

The PROXY protocol needs nothing here: an endpoint `haproxy:` replaces the address of the connection.
"""

import re
from collections.abc import Iterable

from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory

from facaded.policy.limits import Network
from facaded.policy.sources import NO_ADDRESS, is_in, parse_address

HOPS = 20
"""Proxies in a row that are looked at, from the last one back; nobody has as many."""

_LOOPBACK = "127.0.0.1"
_MAPPED = "::ffff:"
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9A-Za-z._-]+)?|([0-9.]+)(?::[0-9A-Za-z._-]+)?|([0-9A-Fa-f:.]+)")
"""A node of RFC 7239 §6 that is an address, with or without a port; also IPv6 without brackets, as some send."""

_PEER = re.compile(r"[0-9A-Fa-f:.]{2,45}(?:%[0-9A-Za-z._-]{1,15})?")
"""An IP address, with a zone or without: an interface has a name of up to 15 characters."""


def host_of(address: IAddress | None) -> str:
    """Return the IP address of a transport's peer, or "-" if that is none; an IPv4-mapped one as its IPv4 address.

    What the PROXY protocol says is not checked by Twisted: it could have control characters, and end up in the log.
    """
    host = getattr(address, "host", None) or NO_ADDRESS
    ipv4 = host.removeprefix(_MAPPED)  # of a peer at a socket for both families
    if ipv4 != host and "." in ipv4 and ":" not in ipv4:
        host = ipv4
    return host if _PEER.fullmatch(host) else NO_ADDRESS


def client_address(
    peer: str, trusted: tuple[Network, ...], x_forwarded_for: Iterable[str], forwarded: Iterable[str]
) -> str:
    """Return the address of a request's client; `peer` is that of its connection.

    If the peer is trusted, it is the rightmost address in its header that is not trusted. All to the left of that may
    be made up by the client. What is no address ends the search: then it is the last one that was found. The arguments
    `x_forwarded_for` and `forwarded` are the values of these headers, each line by itself. If both are there, the first
    one counts: most proxies set only that one, and pass on any `Forwarded` that a client makes up. Never raises.

    The peer on a Unix socket is trusted if this machine's 127.0.0.1 is.
    """
    if not trusted or not is_in(_LOOPBACK if peer == NO_ADDRESS else peer, trusted):
        return peer
    address = peer
    for node in _nodes(",".join(x_forwarded_for)) or _forwarded_nodes(",".join(forwarded)):
        found_address = _parse_node(node)
        if found_address is None:
            return address
        address = found_address
        if not is_in(address, trusted):
            return address
    return address


def _nodes(header: str) -> list[str]:
    """Return the elements of a list from the last one back, without empty ones."""
    parts = (part.strip(" \t") for part in reversed(header.rsplit(",", HOPS)[-HOPS:]))
    return [part for part in parts if part]


def _forwarded_nodes(header: str) -> list[str]:
    """Return the value of `for` in each element of `Forwarded`, from the last one back; empty where it is missing.

    A comma in a quoted string ends an element too, because a client may open a quotation that it does not close.
    """

    def node(element: str) -> str:
        for pair in element.split(";"):
            name, _, value = pair.strip(" \t").partition("=")
            if name.lower() == "for":
                return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        return ""

    return [node(element) for element in _nodes(header)]


def _parse_node(node: str) -> str | None:
    match = _NODE.fullmatch(node)
    parsed = parse_address(match[1] or match[2] or match[3]) if match else None
    return None if parsed is None else str(parsed)


class _Refused(Protocol):
    """A connection that is closed at once."""

    def connectionMade(self) -> None:
        ITCPTransport(self.transport).abortConnection()


class WithoutAddress(ServerFactory):
    """Passes no address to a factory, because the peer is a proxy that is going to say whose connection it is."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:  # type: ignore[override]
        """Return a protocol in any case: Twisted's wrapper for the PROXY protocol would fail with None."""
        protocol = self._factory.buildProtocol(None)  # type: ignore[arg-type]
        return _Refused() if protocol is None else protocol

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()
