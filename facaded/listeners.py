"""The listeners: the endpoints of the settings, opened all or none, and closed without losing a request."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen
from twisted.application import strports
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory

from facaded.config.listen_addresses import PROXY_PREFIX, Address, families, with_backlog
from facaded.config.paths import control_endpoint
from facaded.config.sections import Config
from facaded.exit_status import ADDRESS_UNAVAILABLE, USAGE
from facaded.net.reactor import IFacadedReactor
from facaded.web.client_address import WithoutAddress
from facaded.web.server import BoundedSite

IN_FLIGHT = 5.0
"""Seconds that requests in flight have to finish after a stop."""

_REMEDIES = {
    errno.EADDRINUSE: "another program listens there: stop it, or choose another address",
    errno.EACCES: "not permitted: choose a port from 1024 up or a directory of your own, or grant CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine has no such address: choose one that it has",
    errno.ENOENT: "the directory does not exist: create it, or choose another path",
}

_TEMPORARY = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
"""Errors that may go away without new settings: when another program stops, or when the network is up."""

_LOCKED = "Cannot acquire lock"
"""How Twisted says that another process has the lock of a Unix socket."""

ListenError: TypeAlias = CannotListenError | OSError | OverflowError
"""The errors of an endpoint that cannot be opened."""


class StartError(Exception):
    """The daemon cannot start. The text is one sentence with the reason and the remedy.

    `exit_status` is that of the process.
    """

    def __init__(self, sentence: str, exit_status: int = USAGE) -> None:
        super().__init__(sentence)
        self.exit_status = exit_status


@frozen
class ListenFailure:
    """Why an endpoint cannot be opened, with the remedy.

    `is_temporary` says whether it could be opened later with the same settings.
    """

    sentence: str
    is_temporary: bool = False

    @classmethod
    def of(cls, error: ListenError) -> "ListenFailure":
        """Explain an error of Twisted's."""
        cause = error.socketError if isinstance(error, CannotListenError) else error
        if str(cause) == _LOCKED:
            return cls("another facaded uses this socket: stop it, or choose another path", is_temporary=True)
        if not isinstance(cause, OSError) or cause.errno is None:
            return cls(str(cause))
        if cause.errno == errno.EADDRINUSE and (path := _blocked_path(error)):
            return cls(f"{path} exists and is not a socket: remove it, or choose another path")
        return cls(_REMEDIES.get(cause.errno, str(cause.strerror)), cause.errno in _TEMPORARY)


def _blocked_path(error: ListenError) -> Path | None:
    """Return the path of a Unix socket if something else is there, such as a directory."""
    if not isinstance(error, CannotListenError) or not isinstance(error.port, bytes):
        return None
    path = Path(os.fsdecode(error.port))
    return None if path.is_socket() else path


@frozen
class Listener:
    """The site that answers on one key of [listen], and the factory of its connections, including TLS."""

    site: BoundedSite
    factory: IProtocolFactory


class Listeners(Service):
    """Opens `endpoints`, which are pairs of a key of [listen] and a Twisted endpoint string."""

    def __init__(
        self, reactor: IFacadedReactor, listeners: Mapping[str, Listener], endpoints: Sequence[tuple[str, str]]
    ) -> None:
        self._sites = [listener.site for listener in listeners.values()]
        self._services: list[tuple[str, Service]] = [
            (f"{key}: {endpoint}", _service(endpoint, listeners[key].factory, reactor)) for key, endpoint in endpoints
        ]

    def privilegedStartService(self) -> None:
        """Listen on every endpoint. Raises StartError if one of them cannot be opened; then none is open."""
        for index, (name, service) in enumerate(self._services):
            try:
                service.privilegedStartService()
            except (CannotListenError, OSError, OverflowError) as error:
                for _, opened in self._services[:index]:
                    opened.stopService()
                failure = ListenFailure.of(error)
                status = ADDRESS_UNAVAILABLE if failure.is_temporary else USAGE
                raise StartError(f"{name}: {failure.sentence}", status) from None

    def startService(self) -> None:
        Service.startService(self)
        for _, service in self._services:
            service.startService()

    def stopService(self) -> Deferred[None]:
        """Accept no more connections, then close the open ones; requests in flight have `IN_FLIGHT` seconds."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await DeferredList([maybeDeferred(service.stopService) for _, service in self._services])
        await DeferredList([site.drain(IN_FLIGHT) for site in self._sites])


def _service(endpoint: str, factory: IProtocolFactory, reactor: IFacadedReactor) -> Service:
    is_proxied = endpoint.startswith(PROXY_PREFIX)
    service: Service = strports.service(
        with_backlog(endpoint), WithoutAddress(factory) if is_proxied else factory, reactor
    )
    return service


def endpoints(config: Config, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield every endpoint that the daemon listens on with these settings, after the key that it is from."""
    for key, address in addresses(config):
        yield from ((key, endpoint) for endpoint in address.endpoints(families()))
    yield "listen.control", control_endpoint(config, environ)


def addresses(config: Config) -> Iterator[tuple[str, Address]]:
    """Yield every address that the daemon listens on with these settings, after its key; not the control socket."""
    keys = {
        "listen.http": config.listen.http,
        "listen.https": config.listen.https if config.tls is not None else (),
        "listen.admin": config.listen.admin,
    }
    yield from ((key, address) for key, listed in keys.items() for address in listed)
