"""Sources: the unit of limits per client, an IPv4 address or an IPv6 /64, which is what one host or site gets."""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from facaded.policy.limits import Network

IPV6_PREFIX = 64
"""Bits: a host can choose any address of its /64 (RFC 4291 §2.5.1)."""

SOURCES = 4096
"""Addresses whose source is remembered, of some 200 bytes each: every request needs it, and parsing takes 3 µs."""

NO_ADDRESS = "-"
"""Stands for a client's address where there is none: on a Unix socket, or before the header of the PROXY protocol."""

MASKED_BITS = {4: 24, 6: 48}
"""Bits of an address that are left when it is masked: the network of a site, not of a household."""


class Addresses(Enum):
    """How the log shows clients' addresses."""

    FULL = "full"
    MASKED = "masked"
    NONE = "none"


@lru_cache(maxsize=SOURCES)
def source_of(address: str) -> str:
    """Return the source of a client's address, such as "192.0.2.7" or "2001:db8::/64".

    An IPv4-mapped address counts as its IPv4 address. Text that is no address is its own source: all clients of a Unix
    socket, whose address is "-", are one.
    """
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> IPV6_PREFIX << IPV6_PREFIX, IPV6_PREFIX)))
    return address if parsed is None else str(parsed)


@lru_cache(maxsize=SOURCES)
def show_address(text: str, addresses: Addresses) -> str:
    """Return a client's address, or a source, as the log may show it: masked it is 192.0.2.0 or 2001:db8:1::.

    Text that is neither stays as it is: a limit may be reached by a backend.
    """
    parsed = parse_address(text.partition("/")[0])
    if addresses is Addresses.FULL or parsed is None:
        return text
    if addresses is Addresses.NONE:
        return NO_ADDRESS
    hidden = parsed.max_prefixlen - MASKED_BITS[parsed.version]
    return str(type(parsed)(int(parsed) >> hidden << hidden))


def is_in(address: str, networks: Iterable[Network]) -> bool:
    """Return whether one of the networks has the address; an IPv4-mapped address counts as its IPv4 address."""
    parsed = parse_address(address)
    return parsed is not None and any(parsed in network for network in networks)


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in `text`, without a zone and as IPv4 if it is IPv4-mapped; None if there is none."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed
