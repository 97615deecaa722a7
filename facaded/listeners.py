"""The listeners: the endpoints of the settings, opened all or none, and closed without losing a request."""

import contextlib
import errno
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptor,
    IListeningPort,
    IProtocolFactory,
    IReactorFromThreads,
    IStreamServerEndpoint,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger

from facaded.config.listen_addresses import (
    PROXY_PREFIX,
    Address,
    families,
    passed_socket,
    with_backlog,
)
from facaded.config.paths import control_endpoint
from facaded.config.sections import Config
from facaded.exit_status import ADDRESS_UNAVAILABLE, USAGE
from facaded.net.passed_sockets import PassedSocketError, PassedSockets
from facaded.net.proxy_protocol import GuardedReactor
from facaded.net.reactor import IFacadedReactor
from facaded.net.server_endpoints import server_endpoint
from facaded.net.shared_listening import SharedListening
from facaded.web.client_address import WithoutAddress
from facaded.web.server import BoundedSite
from facaded.web.slow_readers import limit_kernel_buffers

IN_FLIGHT = 5.0
"""Seconds that requests in flight have to finish after a stop."""

IN_TRANSIT = 0.3
"""Seconds in which clients that are connected can still send a request after a stop, because it may be on its way.

Without that, some of those who connect during a restart would be disconnected before their first request arrives. A
handshake of TLS takes one round trip before it.
"""

OPERATORS = ("listen.admin", "listen.control")
"""The keys of the operator's listeners, which answer until all others are closed."""

OPERATORS_IN_FLIGHT = 1.0
"""Seconds that the operator's requests in flight have to finish after that: health checks take milliseconds."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

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

PROBE_TIME = 1.0
"""Seconds that a connection to a Unix socket may take, at the start alone: it waits if the other's queue is full."""

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
    """Opens `endpoints`, which are pairs of a key of [listen] and an endpoint of `Address.endpoints`.

    They stay open for `stop_delay` seconds after a stop, so that load balancers notice it in time. `passed` are the
    sockets that systemd has opened, `shared` listens for clients if several processes do. Raises StartError if a socket
    of systemd that an endpoint names is missing or cannot be used.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IFacadedReactor,
        listeners: Mapping[str, Listener],
        endpoints: Sequence[tuple[str, str]],
        stop_delay: float = 0.0,
        passed: PassedSockets | None = None,
        shared: SharedListening | None = None,
    ) -> None:
        self._operators_reactor = reactor
        self._reactor: Any = shared or reactor
        self._shared = shared
        self._stop_delay = stop_delay
        self._delaying: Deferred[None] | None = None
        self._passed = passed or PassedSockets()
        self._sites = {key: listener.site for key, listener in listeners.items()}
        self._endpoints: list[tuple[str, str, _Endpoint]] = [
            (key, text, endpoint)
            for key, text in endpoints
            for endpoint in self._prepare(key, text, listeners[key].factory)
        ]

    def reconfigure(self, stop_delay: float) -> None:
        """Apply a new stop delay."""
        self._stop_delay = stop_delay

    def privilegedStartService(self) -> None:
        """Listen on every endpoint. Raises StartError if one of them cannot be opened; then none is open.

        Sockets of systemd that no endpoint names are closed.
        """
        for index, (key, text, endpoint) in enumerate(self._endpoints):
            try:
                endpoint.open()
            except (CannotListenError, OSError, OverflowError) as error:
                for *_, opened in self._endpoints[:index]:
                    opened.close()
                failure = ListenFailure.of(error)
                status = ADDRESS_UNAVAILABLE if failure.is_temporary else USAGE
                raise StartError(f"{key}: {text}: {failure.sentence}", status) from None
        for name in self._passed.close_unused():
            self._log.warn(
                'the socket "{name}" of systemd is not answered, because no listener uses it: write "systemd:{name}" '
                "in [listen], or disable its .socket unit",
                name=name,
            )

    def stand_in(self, number: int) -> None:
        """Accept what waits in the sockets of another process too: nobody else does."""
        if self._shared is not None and self.running:
            for listening in self._shared.stand_in(number):
                _limit(listening)

    def stand_down(self, number: int) -> None:
        """Leave the sockets of another process to it."""
        if self._shared is not None:
            self._shared.stand_down(number)

    def opened(self) -> Iterator[tuple[str, IAddress]]:
        """Yield the address of every open listener after its key of [listen]."""
        for key, _, endpoint in self._endpoints:
            yield from ((key, address) for address in endpoint.addresses)

    def proxied(self) -> list[IAddress]:
        """Return the addresses of the open listeners that want the PROXY header of a proxy."""
        return [
            address
            for _, text, endpoint in self._endpoints
            if text.startswith("haproxy:")
            for address in endpoint.addresses
        ]

    def end_delay(self) -> None:
        """End the delay of a stop, if that has begun."""
        if self._delaying is not None:
            self._delaying.cancel()

    def stopService(self) -> Deferred[None]:
        """Accept no more connections, then close the open ones; requests in flight have `IN_FLIGHT` seconds.

        From the beginning of `stop_delay` on, each answer is the last of its connection. Requests that arrive within
        `IN_TRANSIT` are answered too. The operator's listeners come last.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def _prepare(self, key: str, text: str, factory: IProtocolFactory) -> Iterator["_Endpoint"]:
        """Yield what an endpoint opens: several sockets if systemd passed several of its name. Raises StartError."""
        reactor: Any = self._operators_reactor if key in OPERATORS else self._reactor
        if has_header := text.startswith(PROXY_PREFIX):
            reactor, factory = GuardedReactor(reactor), WithoutAddress(factory)
        if not (reference := passed_socket(text)):
            yield _Endpoint(server_endpoint(reactor, with_backlog(text)), factory)
            return
        try:
            sockets = self._passed.take(reference)
        except PassedSocketError as error:
            raise StartError(f"{key}: {text}: {error}") from None
        from twisted.internet.endpoints import AdoptedStreamServerEndpoint  # see `server_endpoints`
        from twisted.protocols.haproxy import proxyEndpoint

        for passed in sockets:
            adopted = AdoptedStreamServerEndpoint(reactor, passed.descriptor, passed.family)
            yield _Endpoint(proxyEndpoint(adopted) if has_header else adopted, factory)

    async def _stop(self) -> None:
        operators = {*OPERATORS} & {*self._sites}
        clients = {*self._sites} - operators
        for key in clients:
            self._sites[key].is_stopping = True
        if self._stop_delay:
            await self._delay()
        await self._close_endpoints(clients)
        if self._shared is not None:
            self._shared.close()
        if any(self._sites[key].channels for key in clients):
            await deferLater(self._reactor, IN_TRANSIT)
        await self._drain(clients, IN_FLIGHT)
        await self._close_endpoints(operators)
        await self._drain(operators, OPERATORS_IN_FLIGHT)

    async def _delay(self) -> None:
        """Wait for `stop_delay`, or until the process gets a second signal to stop."""
        self._delaying = deferLater(self._reactor, self._stop_delay)
        with _on_signals(_STOP_SIGNALS, self._reactor, self.end_delay), contextlib.suppress(CancelledError):
            await self._delaying

    async def _close_endpoints(self, keys: set[str]) -> None:
        await DeferredList([endpoint.close() for key, _, endpoint in self._endpoints if key in keys])

    async def _drain(self, keys: set[str], seconds: float) -> None:
        await DeferredList([self._sites[key].drain(seconds) for key in keys])


@contextlib.contextmanager
def _on_signals(
    numbers: Sequence[signal.Signals], reactor: IReactorFromThreads, action: Callable[[], object]
) -> Iterator[None]:
    """Call `action` in the reactor when the process gets one of these signals, instead of what was done before."""
    before = {number: signal.signal(number, lambda *_: reactor.callFromThread(action)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Endpoint:
    """An endpoint of Twisted's that is opened at once or not at all.

    Twisted has `strports.service` for this, but that also imports its client services, which take 10 ms and 0.5 MiB.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._ports: list[IListeningPort] = []

    @property
    def addresses(self) -> tuple[IAddress, ...]:
        """The addresses that are listened on."""
        return tuple(port.getHost() for port in self._ports)

    def open(self) -> None:
        """Listen. Raises CannotListenError, OSError or OverflowError."""
        try:
            self._listen()
        except CannotListenError as error:
            if str(error.socketError) != _LOCKED or not _remove_left_socket(Path(os.fsdecode(error.port))):
                raise
            self._listen()

    def _listen(self) -> None:
        errors: list[Any] = []
        self._endpoint.listen(self._factory).addCallbacks(self._ports.append, errors.append)
        if errors:
            errors[0].raiseException()
        for port in self._ports:
            _limit(port)

    def close(self) -> Deferred[object]:
        """Stop listening; do nothing if it does not listen."""
        return maybeDeferred(self._ports.pop().stopListening) if self._ports else succeed(None)


def _remove_left_socket(path: Path) -> bool:
    """Remove a Unix socket and its lock if nobody listens there; return whether that is so.

    The lock names the process that opened the socket. If that was killed, another one may have its number by now: in a
    container the next facaded, because the number is 1 each time.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_TIME)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except OSError:
            return False
        else:
            return False
    try:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _limit(port: IListeningPort) -> None:
    if IFileDescriptor.providedBy(port):
        with socket.socket(fileno=os.dup(port.fileno())) as listening:
            limit_kernel_buffers(listening)


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
