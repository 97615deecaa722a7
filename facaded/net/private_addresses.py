"""Private addresses: what a public server says must not lead this machine, or a client, into a private network.

A server that is itself on a private or loopback address may name such addresses: then it is inside, and so is what it
names.
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
    """A public server named a host whose address is private, loopback or link-local."""


class Boundary:
    """What one server may lead to. `host` is the server's own; `resolve` gives a name's addresses.

    Whether the server is public is learned from the address that a connection to it was made to.
    """

    def __init__(self, host: str, resolve: Resolve) -> None:
        self._host = host
        self._resolve = resolve
        self._public = False

    def check(self, host: str, address: str) -> None:
        """A connection to `host` was made to this address. Raises PrivateAddressError if it must not be used."""
        if host == self._host:
            self._public = is_public(address)
        elif self._public and not is_public(address):
            raise PrivateAddressError(f"{host} is at the inward address {address}")

    async def check_name(self, host: str) -> None:
        """A client is about to be sent to `host`. Raises PrivateAddressError if it must not be."""
        if not self._public or host == self._host:
            return
        for address in [host] if is_address(host) else await self._resolve(host):
            self.check(host, address)


@implementer(IStreamClientEndpoint)
class CheckedEndpoint:
    """An endpoint whose connections are checked before anything is sent on them."""

    def __init__(self, endpoint: IStreamClientEndpoint, host: str, boundary: Boundary) -> None:
        self._endpoint = endpoint
        self._host = host
        self._boundary = boundary

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._endpoint.connect(protocolFactory).addCallback(self._check)

    def _check(self, protocol: IProtocol) -> IProtocol:
        transport = ITCPTransport(protocol.transport)  # type: ignore[attr-defined]  # every Protocol has one
        try:
            self._boundary.check(self._host, getattr(transport.getPeer(), "host", ""))
        except PrivateAddressError:
            transport.abortConnection()
            raise
        return protocol


def lookup(reactor: IReactorPluggableNameResolver) -> Resolve:
    """A function that gives the addresses of a name as the reactor's own resolver finds them; none if it finds none."""

    def resolve(host: str) -> Deferred[list[str]]:
        addresses: list[str] = []
        complete: Deferred[list[str]] = Deferred()

        @implementer(IResolutionReceiver)
        class Receiver:
            @staticmethod
            def resolutionBegan(resolutionInProgress: IHostResolution) -> None:
                """Nothing to keep."""

            @staticmethod
            def addressResolved(address: IAddress) -> None:
                addresses.append(getattr(address, "host", ""))

            @staticmethod
            def resolutionComplete() -> None:
                complete.callback(addresses)

        reactor.nameResolver.resolveHostName(Receiver(), host)
        return complete

    return resolve
