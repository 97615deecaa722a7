"""Private addresses: a public server must not refer facaded or a client to a private network.

A server that has a private or loopback address itself may refer to such addresses, because it is in that network.
"""

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
    ITCPTransport,
)
from zope.interface import implementer

from facaded.net.addresses import is_address, is_public

Resolve = Callable[[str], Awaitable[list[str]]]


class PrivateAddressError(Exception):
    """A public server refers to a host whose address is private, loopback or link-local."""


class Boundary:
    """The limit on the addresses that one server may refer to.

    `host` is the server's own host; `resolve` looks up the addresses of a name. The server counts as public if the last
    connection to it was to a public address.
    """

    def __init__(self, host: str, resolve: Resolve) -> None:
        self._host = host
        self._resolve = resolve
        self._public = False

    def check(self, host: str, address: str) -> None:
        """Check the address of a new connection to `host`. Raises PrivateAddressError if it must not be used."""
        if host == self._host:
            self._public = is_public(address)
        elif self._public and not is_public(address):
            raise PrivateAddressError(f"{host} has the private address {address}")

    async def check_name(self, host: str) -> None:
        """Check a host before a client is redirected to it. Raises PrivateAddressError if it must not be."""
        if not self._public or host == self._host:
            return
        for address in [host] if is_address(host) else await self._resolve(host):
            self.check(host, address)


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """An endpoint that checks the address of each connection before anything is sent on it."""

    def __init__(self, endpoint: IStreamClientEndpoint, host: str, boundary: Boundary) -> None:
        self._endpoint = endpoint
        self._host = host
        self._boundary = boundary

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._endpoint.connect(protocolFactory).addCallback(self._check_peer)

    def _check_peer(self, protocol: IProtocol) -> IProtocol:
        transport = ITCPTransport(protocol.transport)  # type: ignore[attr-defined]  # every Protocol has one
        try:
            self._boundary.check(self._host, getattr(transport.getPeer(), "host", ""))
        except PrivateAddressError:
            transport.abortConnection()
            raise
        return protocol


def lookup(reactor: IReactorPluggableNameResolver) -> Resolve:
    """Return a function that resolves a name with the reactor's resolver; it returns [] for an unknown name."""

    def resolve(host: str) -> Deferred[list[str]]:
        addresses: list[str] = []
        complete: Deferred[list[str]] = Deferred()

        @implementer(IResolutionReceiver)
        class Receiver:
            @staticmethod
            def resolutionBegan(resolutionInProgress: IHostResolution) -> None:
                """Nothing to do."""

            @staticmethod
            def addressResolved(address: IAddress) -> None:
                addresses.append(getattr(address, "host", ""))

            @staticmethod
            def resolutionComplete() -> None:
                complete.callback(addresses)

        reactor.nameResolver.resolveHostName(Receiver(), host)
        return complete

    return resolve
