"""Checks of the machine and the network before the daemon starts, for `facaded check`. Each returns warnings."""

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
from facaded.listeners import ListenFailure, addresses
from facaded.mounts import why_lost
from facaded.net.private_addresses import lookup
from facaded.net.reactor import IFacadedReactor, INetworkReactor
from facaded.tls.certificate_files import read
from facaded.tls.server_certificate import UnusableError, check_time

LOOKUP_TIMEOUT = 5.0
"""Seconds for looking up all names together: a working resolver needs less than one."""

NAMES = 50
"""The most names that are looked up: all at once."""

PORT_KINDS = ("tcp", "tcp6", "haproxy")
"""Kinds of endpoints that can be opened and closed again without leaving a trace."""


def unusable_certificates(config: Config, now: float) -> tuple[str, ...]:
    """Warn about each certificate file that the daemon could not use; `now` in seconds since the epoch."""
    warnings = []
    for index, files in enumerate(config.tls.certificates if config.tls else ()):
        try:
            check_time(read(files), now)
        except UnusableError as error:
            warnings.append(f"tls.certificate[{index}]: {error}")
    return tuple(warnings)


def lost_certificates(config: Config, state: Path, mounts: Path) -> tuple[str, ...]:
    """Warn if the certificates that ACME obtains would be lost at each restart; `mounts` is the mountinfo file."""
    if not config.certificate_names:
        return ()
    try:
        reason = why_lost(state, mounts.read_text(errors="replace"))
    except OSError:
        return ()
    if reason is None:
        return ()
    remedy = "mount a volume there, or set state.directory to a directory that stays"
    limits = "and every start orders new ones, until the authority's limits are reached"
    return (f"state.directory: {state} {reason}: its certificates are lost at each restart, {limits}: {remedy}",)


async def unknown_names(config: Config, reactor: INetworkReactor) -> tuple[str, ...]:
    """Warn about each of the facade's names that does not resolve."""
    certificate_names = (name for names in config.certificate_names for name in names)
    names = list(dict.fromkeys((*config.hosts, *certificate_names)))[:NAMES]
    results = await gatherResults([_look_up(name, reactor) for name in names])
    return tuple(
        f"hosts: {name} does not resolve on this machine: clients need an A or AAAA record that leads here"
        for name, result in zip(names, results, strict=True)
        if not result
    )


async def unbindable_ports(config: Config, socket: Path | None, reactor: IFacadedReactor) -> tuple[str, ...]:
    """Warn about each listener that cannot be opened; not if a daemon, which has them open, answers at `socket`."""
    if socket is not None:
        try:
            await control_client.ask(reactor, socket, "GET", "/status", Status)
        except NewerDaemonError:
            return ()
        except ControlError:
            pass
        else:
            return ()
    warnings = []
    for key, address in addresses(config):
        if address.passed_socket:
            continue
        endpoints = [text for text in address.endpoints(families()) if text.partition(":")[0] in PORT_KINDS]
        reasons = [await _why_unbindable(endpoint, reactor) for endpoint in endpoints]
        warnings += [f"{key}: {address.text}: {reason}" for reason in reasons if reason]
    return tuple(warnings)


def _look_up(name: str, reactor: INetworkReactor) -> Deferred[list[str]]:
    """Return the addresses of a name; none if the lookup fails or takes too long."""

    async def find_addresses() -> list[str]:
        return await lookup(reactor)(name)

    return Deferred.fromCoroutine(find_addresses()).addTimeout(LOOKUP_TIMEOUT, reactor).addErrback(lambda _: [])


async def _why_unbindable(endpoint: str, reactor: IFacadedReactor) -> str:
    """Return why an endpoint cannot be opened; empty if it can."""
    try:
        port = await serverFromString(reactor, endpoint).listen(Factory())
    except (CannotListenError, OSError, OverflowError) as error:
        return ListenFailure.of(error).sentence
    await port.stopListening()
    return ""
