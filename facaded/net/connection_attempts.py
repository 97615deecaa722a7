"""Connections to a name with several addresses, and which of the failures counts if none of them connects."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IConnector, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from zope.interface import implementer

from facaded.net.client import is_local_error
from facaded.net.reactor import INetworkReactor


@implementer(IStreamClientEndpoint)
class NameEndpoint:
    """An endpoint for all addresses of a name that fails because of this machine only if every address does.

    `HostnameEndpoint` fails with the last failure. On a machine without IPv6 that often is a missing route, even if
    the server has refused the connection to its IPv4 address. Times are in seconds, `timeout` is that of one address.
    """

    def __init__(self, reactor: INetworkReactor, host: str, port: int, timeout: float, attempt_delay: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._timeout = timeout
        self._attempt_delay = attempt_delay

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        failures: list[Failure] = []
        endpoint = HostnameEndpoint(
            _AttemptedReactor(self._reactor, failures),
            self._host,
            self._port,
            timeout=self._timeout,
            attemptDelay=self._attempt_delay,
        )
        return endpoint.connect(protocolFactory).addErrback(lambda last: _choose(failures, last))


def _choose(failures: list[Failure], last: Failure) -> Failure:
    """Return the first failure that is the server's if the last one is this machine's, else the last one."""
    if not _is_local(last):
        return last
    return next((failure for failure in failures if not _is_local(failure)), last)


def _is_local(failure: Failure) -> bool:
    return failure.value is not None and is_local_error(failure.value)


class _AttemptedReactor(proxyForInterface(INetworkReactor, "_reactor")):  # type: ignore[misc]  # made at run time
    """A reactor that notes the failure of each connection."""

    def __init__(self, reactor: INetworkReactor, failures: list[Failure]) -> None:
        super().__init__(reactor)
        self._failures = failures

    def connectTCP(self, host: str, port: int, factory: Any, *arguments: Any, **options: Any) -> IConnector:
        report = factory.clientConnectionFailed

        def note(connector: IConnector, reason: Failure) -> None:
            self._failures.append(reason)
            report(connector, reason)

        factory.clientConnectionFailed = note
        connector: IConnector = self._reactor.connectTCP(host, port, factory, *arguments, **options)
        return connector
