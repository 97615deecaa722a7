"""What a person should know of the machine and the network before the daemon starts: for `facaded check`."""

from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from facaded.admin import control_client
from facaded.admin.control_client import ControlError, NewerDaemonError
from facaded.admin.status import Status
from facaded.config.listen_addresses import families
from facaded.config.sections import Config
from facaded.listeners import ListenFailure
from facaded.net.private_addresses import lookup
from facaded.net.reactor import IFacadedReactor, INetworkReactor
from facaded.tls.certificate_files import read
from facaded.tls.server_certificate import UnusableError, check_time

NAMES_TIME = 5.0
"""Seconds for all names together: a resolver that works needs a part of one."""

NAMES = 50
"""Names that are looked up: so many can be asked at once."""

PORTS = ("tcp", "tcp6", "haproxy")
"""Kinds of endpoints that can be tried without a trace."""


def unusable_certificates(config: Config, now: float) -> tuple[str, ...]:
    """A sentence for each pair of files that the daemon could not use; `now` in seconds since the epoch."""
    found = []
    for index, files in enumerate(config.tls.certificates if config.tls else ()):
        try:
            check_time(read(files), now)
        except UnusableError as error:
            found.append(f"tls.certificate[{index}]: {error}")
    return tuple(found)


async def unknown_names(config: Config, reactor: INetworkReactor) -> tuple[str, ...]:
    """A sentence for each of our names that leads nowhere."""
    ordered = (name for names in config.certificate_names for name in names)
    names = list(dict.fromkeys((*config.hosts, *ordered)))[:NAMES]
    found = await gatherResults([_addresses(name, reactor) for name in names])
    return tuple(
        f"hosts: {name} has no address that this machine can find: clients need an A or AAAA record that leads here"
        for name, addresses in zip(names, found, strict=True)
        if not addresses
    )


async def unbindable_ports(config: Config, socket: Path | None, reactor: IFacadedReactor) -> tuple[str, ...]:
    """A sentence for each listener that could not be opened; none if the daemon that has them answers at `socket`."""
    if socket is not None:
        try:
            await control_client.ask(reactor, socket, "GET", "/status", Status)
        except NewerDaemonError:
            return ()
        except ControlError:
            pass
        else:
            return ()
    listen = config.listen
    listed = [("listen.http", address) for address in listen.http]
    listed += [("listen.https", address) for address in listen.https if config.tls]
    listed += [("listen.admin", address) for address in listen.admin]
    found = []
    for key, address in listed:
        endpoints = [each for each in address.endpoints(families()) if each.partition(":")[0] in PORTS]
        found += [f"{key}: {address.text}: {why}" for each in endpoints if (why := await _refused(each, reactor))]
    return tuple(found)


def _addresses(name: str, reactor: INetworkReactor) -> Deferred[list[str]]:
    """The addresses of a name; none if they are not found in time."""

    async def found() -> list[str]:
        return await lookup(reactor)(name)

    return Deferred.fromCoroutine(found()).addTimeout(NAMES_TIME, reactor).addErrback(lambda _: [])


async def _refused(endpoint: str, reactor: IFacadedReactor) -> str:
    """Why it cannot be listened on; empty if it can."""
    try:
        port = await serverFromString(reactor, endpoint).listen(Factory())
    except (CannotListenError, OSError, OverflowError) as error:
        return ListenFailure.of(error).sentence
    await port.stopListening()
    return ""
