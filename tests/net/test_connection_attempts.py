"""Connections to names with several addresses: which failure counts."""

import errno
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IProtocol, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.net.connection_attempts import NameEndpoint
from tests.net.lookups import ONE, SIX


@implementer(IHostnameResolver)
class BothFamilies:
    """A resolver that gives every name an IPv4 and an IPv6 address."""

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: object = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution: Any = None  # HostnameEndpoint never uses it
        resolutionReceiver.addressResolved(IPv4Address("TCP", ONE, portNumber))
        resolutionReceiver.addressResolved(IPv6Address("TCP", SIX, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution  # type: ignore[no-any-return]


REFUSED, UNROUTED = ConnectionRefusedError(errno.ECONNREFUSED, "x"), NoRouteError(errno.ENETUNREACH, "x")

EXHAUSTED = ConnectBindError(errno.EMFILE, "x")


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        (REFUSED, UNROUTED, REFUSED),
        (UNROUTED, REFUSED, REFUSED),
        (UNROUTED, EXHAUSTED, EXHAUSTED),
    ],
)
def test_a_failure_of_the_server_counts_before_one_of_this_machine(
    first: ConnectError, second: ConnectError, chosen: ConnectError
) -> None:
    reactor: Any = MemoryReactorClock()
    reactor.installNameResolver(BothFamilies())
    failures: list[IProtocol | Failure] = []
    connecting = NameEndpoint(reactor, "hub.test", 443, 2.0, 0.1).connect(Factory.forProtocol(Protocol))
    connecting.addBoth(lambda result: failures.append(result))
    for problem in (first, second):
        factory = reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(problem))
        reactor.advance(0.1)
    assert [client[:2] for client in reactor.tcpClients] == [(ONE, 443), (SIX, 443)]
    assert [failure.value for failure in failures if isinstance(failure, Failure)] == [chosen]
    assert reactor.getDelayedCalls() == []
