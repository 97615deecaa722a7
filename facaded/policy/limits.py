"""The limits that keep one client, or many, from using up this machine or the pulls that a registry allows it."""

from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

from attrs import frozen

Network: TypeAlias = IPv4Network | IPv6Network

BURST = 10
"""Seconds of a rate that a source may use up at once: a host that starts 20 containers sends some 200 requests."""


class Limit(Enum):
    """What can be reached: the keys of [limits], one that has no key, and two limits of the machine.

    `DESCRIPTORS` is that no file can be opened; `LOCAL` is any other failure of this machine, such as no route.
    """

    CONNECTIONS = "connections"
    CONNECTIONS_PER_SOURCE = "connections_per_source"
    NEW_CONNECTIONS_PER_SOURCE = "new_connections_per_source"
    REQUESTS_PER_SOURCE = "requests_per_source"
    BACKEND_REQUESTS = "backend_requests"
    BACKEND_REQUESTS_PER_SOURCE = "backend_requests_per_source"
    QUOTA_RESERVE = "quota_reserve"
    UNSENT_BYTES = "unsent_bytes"
    STALL_TIME = "stall_time"
    HEAD_TIME = "head_time"
    HANDSHAKE_TIME = "handshake_time"
    HANDSHAKE_SIZE = "size of a TLS handshake"
    DESCRIPTORS = "file descriptors"
    LOCAL = "this machine's network"


@frozen
class Limits:
    """[limits]: times in seconds, sizes in bytes, rates in numbers a second with a burst of BURST seconds.

    `connections` is None if it follows from the number of file descriptors. `quota_reserve` is a percentage. A *source*
    is an IPv4 address or an IPv6 /64; those in `exempt` have no limits of their own. `processes` is no key: it is the
    number of those among which the totals have been divided.
    """

    connections: int | None = None
    connections_per_source: int = 1000
    new_connections_per_source: int = 100
    requests_per_source: int = 200
    backend_requests: int = 64
    backend_requests_per_source: int = 50
    quota_reserve: int = 25
    unsent_bytes: int = 64 << 20
    stall_time: float = 10.0
    head_time: float = 10.0
    handshake_time: float = 10.0
    idle_time: float = 60.0
    exempt: tuple[Network, ...] = ()
    processes: int = 1
