"""Checks of IP addresses in text form."""

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

NAT64 = IPv6Network("64:ff9b::/96")
"""The well-known prefix of translators to IPv4, with the IPv4 address at the end (RFC 6052 §2.1)."""

LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""For translators with a prefix of a network's own choice (RFC 8215), which may have 48 to 96 bits.

The IPv4 address can therefore be at several positions, and the bits after it are ignored (RFC 6052 §2.2).
"""

COMPATIBLE = IPv6Network("::/96")
"""IPv4-compatible addresses (RFC 4291 §2.5.5.1, deprecated), apart from `::` and `::1`."""

ISATAP = (0x00005EFE, 0x02005EFE)
"""The 32 bits before the IPv4 address at the end of an ISATAP address (RFC 5214 §6.1)."""

_LAST_32_BITS = (1 << 32) - 1


def is_address(name: str) -> bool:
    """Return whether `name` is an IP address; one in brackets is not."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def canonical(name: str) -> str:
    """Return an IP address in the usual form (RFC 5952), such as 2001:db8::1, and any other text as it is.

    An address with a zone (`fe80::1%eth0`) is other text: it has a meaning on one machine only.
    """
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    return name if "%" in name else str(address)


def is_public(address: str) -> bool:
    """Return whether `address` is a public internet address; False for text that is not an address.

    An IPv6 address that leads to IPv4 addresses, through a translator or a tunnel, is public only if all of them are.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_native_public(parsed)
    if parsed.scope_id is not None or parsed.is_site_local or parsed in LOCAL_NAT64:
        return False
    embedded = tuple(_embedded(parsed))
    # Python calls the prefixes of such addresses private or reserved, whatever IPv4 addresses they contain.
    is_native = not embedded or _isatap(parsed) is not None
    return (not is_native or _is_native_public(parsed)) and all(map(_is_native_public, embedded))


def is_loopback(host: str) -> bool:
    """Return whether a host is `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_native_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address contains."""
    single = (address.ipv4_mapped, address.sixtofour, _isatap(address))
    yield from (ipv4 for ipv4 in single if ipv4 is not None)
    yield from address.teredo or ()
    if address in NAT64 or (address in COMPATIBLE and int(address) > 1):
        yield _last_ipv4(address)


def _isatap(address: IPv6Address) -> IPv4Address | None:
    return _last_ipv4(address) if int(address) >> 32 & _LAST_32_BITS in ISATAP else None


def _last_ipv4(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & _LAST_32_BITS)
