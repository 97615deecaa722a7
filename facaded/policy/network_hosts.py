"""The hosts that facaded and its clients connect to, for firewalls: which are expected, and which were seen. Pure."""

from collections.abc import Iterable
from enum import Enum

from attrs import evolve, frozen

from facaded.net.urls import origin
from facaded.policy.decision import Mode, Rules
from facaded.policy.public_registries import PUBLIC_REGISTRIES, UNKNOWN


class HostPurpose(Enum):
    """What a host is for."""

    REGISTRY = "registry"
    TOKENS = "token server"
    CDN = "CDN"
    CERTIFICATES = "certificate authority"


@frozen
class HostPort:
    """A host and what it is for."""

    purpose: HostPurpose
    host: str
    port: int


@frozen
class NetworkHost:
    """A host for the list of a firewall. `backend` is empty for a certificate authority.

    `expected` is whether the settings, or what is known of the registry, lead there; `seen` whether the running daemon
    was led there. `for_facaded` and `for_clients` are who must reach it.
    """

    host: str
    port: int
    purpose: str
    backend: str
    expected: bool
    seen: bool
    for_facaded: bool
    for_clients: bool


def expected_of(url: str) -> tuple[HostPort, ...]:
    """Return what is known of the hosts of the registry at `url`."""
    host, port = origin(url)
    known = PUBLIC_REGISTRIES.get(host, UNKNOWN)
    return (
        HostPort(HostPurpose.REGISTRY, host, port),
        *(HostPort(HostPurpose.TOKENS, server, 443) for server in known.token_servers),
        *(HostPort(HostPurpose.CDN, cdn, 443) for cdn in known.cdns),
    )


def expected_hosts(rules: Rules, authorities: Iterable[str]) -> tuple[NetworkHost, ...]:
    """Return the hosts that these rules lead to; `authorities` are the URLs of certificate authorities."""
    used = {name for route in rules.routes for name in route.backends}
    backends = [
        _describe(place, name, rules, expected=True)
        for name, backend in rules.backends.items()
        if name in used
        for place in expected_of(backend.url)
    ]
    places = dict.fromkeys(HostPort(HostPurpose.CERTIFICATES, *origin(url)) for url in authorities)
    return (*backends, *(_describe(place, "", rules, expected=True) for place in places))


def mark_seen(
    hosts: Iterable[NetworkHost], seen: Iterable[tuple[str, HostPort]], rules: Rules
) -> tuple[NetworkHost, ...]:
    """Return the hosts with those that were seen, which are pairs of a backend's name and a host."""
    marked = {(one.backend, one.purpose, one.host, one.port): one for one in hosts}
    for name, place in seen:
        key = name, place.purpose.value, place.host, place.port
        one = marked.get(key) or _describe(place, name, rules, expected=False)
        marked[key] = evolve(one, seen=True)
    order = [*rules.backends, ""]
    purposes = [purpose.value for purpose in HostPurpose]
    return tuple(sorted(marked.values(), key=lambda one: (order.index(one.backend), purposes.index(one.purpose))))


def _describe(place: HostPort, backend: str, rules: Rules, *, expected: bool) -> NetworkHost:
    return NetworkHost(
        host=place.host,
        port=place.port,
        purpose=place.purpose.value,
        backend=backend,
        expected=expected,
        seen=False,
        for_facaded=True,
        for_clients=_needs_clients(place.purpose, backend, rules),
    )


def _needs_clients(purpose: HostPurpose, backend: str, rules: Rules) -> bool:
    """Return whether clients connect to a host: those that are redirected, to all of a backend's; others to its CDN.

    Clients with an account of their own get their token from the backend's token server.
    """
    match purpose:
        case HostPurpose.CDN:
            return True
        case HostPurpose.CERTIFICATES:
            return False
    is_private = rules.backends[backend].private
    return purpose is HostPurpose.TOKENS if is_private else rules.mode is not Mode.SERVE
