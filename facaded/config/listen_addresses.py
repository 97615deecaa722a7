"""Addresses to listen on: parses the forms that people write, and converts them to Twisted endpoint strings."""

import re
import socket
from enum import Enum

from attrs import frozen

KINDS = ("tcp", "tcp6", "unix", "systemd", "haproxy")
"""Kinds of Twisted endpoints that can be listened on and closed again."""

PROXY_PREFIX = "haproxy:"
"""Begins the endpoints whose connections start with a header of the PROXY protocol."""

PASSED_PREFIX = "systemd:"
"""Begins the endpoints that are sockets from systemd; the socket's name or `index=N` follows."""

LENGTH = 200
"""Characters of an address; the path of a Unix socket has at most 107."""

PATH_LENGTH = 107
"""Characters of the path of a Unix socket: unix(7)."""

BACKLOG = 65_535
"""Connections that wait to be accepted: the kernel lowers it to net.core.somaxconn (listen(2)). Twisted's is 50."""

BACKLOG_KINDS = ("tcp", "tcp6", "unix")
"""Kinds of Twisted endpoints whose third argument is the backlog. An adopted socket has that of the unit."""

_WILDCARD = re.compile(r"\*?:?(\d{1,9})")
_IPV4 = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):(\d{1,9})")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]+)\]:(\d{1,9})")
_TCP = re.compile(r"(?:haproxy:)?(tcp6?):(?:port=)?(-?\d{0,9})(?=:|$)")
_UNIX_PATH = re.compile(r"unix:(?:address=)?((?:[^:\\]|\\.)*)")
_PASSED_NAME = r"[A-Za-z0-9_.@-]+"
_PASSED = re.compile(
    rf"(haproxy:)?systemd:(?:({_PASSED_NAME})|domain=INET6?:name=({_PASSED_NAME})|domain=INET6?:(index=\d{{1,4}}))"
)
_INTERFACE = re.compile(r"(?<!\\):interface=((?:\\.|[^:\\])*)")

ANY_IPV4 = "0.0.0.0"  # noqa: S104  # nosec B104  # what Twisted's tcp: means

EXPECTED = 'expected an address as in ":8080", "127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock"'


class Families(Enum):
    """The IP versions of this machine: one socket for both, one socket for each, or IPv4 only."""

    SHARED = "shared"
    SEPARATE = "separate"
    IPV4 = "IPv4"


@frozen
class Address:
    """An address to listen on. `text` is what the settings say.

    `host` is an IP address, empty for all addresses of the machine; `host` and `port` are None if the address is not a
    TCP one, or is not known before it is opened. `endpoint` is a Twisted endpoint string, empty for an address such as
    `:8080`: see `endpoints`.
    """

    text: str
    host: str | None = None
    port: int | None = None
    endpoint: str = ""

    def endpoints(self, families: Families) -> tuple[str, ...]:
        """Return the Twisted endpoint strings for this address, on a machine with these IP versions."""
        if self.endpoint:
            return (self.endpoint,)
        ipv4, ipv6 = f"tcp:{self.port}", rf"tcp:{self.port}:interface=\:\:"
        return {Families.SHARED: (ipv6,), Families.SEPARATE: (ipv4, ipv6), Families.IPV4: (ipv4,)}[families]

    @property
    def unix_path(self) -> str:
        """The path of a Unix socket; empty for other addresses."""
        match = _UNIX_PATH.match(self.endpoint)
        return re.sub(r"\\(.)", r"\1", match[1]) if match else ""

    @property
    def passed_socket(self) -> str:
        """What names the socket that systemd passes, its name or `index=N`; empty for other addresses."""
        return passed_socket(self.endpoint)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return bool(self.unix_path) or (self.host is not None and (self.host.startswith("127.") or self.host == "::1"))

    def meets(self, other: "Address") -> bool:
        """Whether this address and the other cannot be listened on at the same time."""
        if not self.port or self.port != other.port:
            own = self.unix_path or self.passed_socket
            return bool(own) and own == (other.unix_path or other.passed_socket)
        hosts = {self.host, other.host}
        covers_ipv4 = ANY_IPV4 in hosts and not any(":" in (host or "") for host in hosts)
        return len(hosts) == 1 or bool(hosts & {"", "::"}) or covers_ipv4


def parse(value: object) -> Address:
    """Parse an address: a port, `HOST:PORT`, `unix:PATH`, `systemd:NAME`, or a Twisted endpoint string.

    Raises ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(EXPECTED)
    text = str(value)
    if len(text) > LENGTH:
        raise ValueError(EXPECTED)
    if match := _WILDCARD.fullmatch(text):
        return Address(text, "", _port(match[1]))
    if match := _IPV4.fullmatch(text):
        return _tcp(text, match[1], match[2])
    if match := _IPV6.fullmatch(text):
        return _tcp(text, match[1], match[2])
    return _endpoint(text)


def passed_socket(endpoint: str) -> str:
    """Return what names the socket of systemd that an endpoint is, its name or `index=N`; empty for other endpoints."""
    unwrapped = endpoint.removeprefix(PROXY_PREFIX)
    return unwrapped.removeprefix(PASSED_PREFIX) if unwrapped.startswith(PASSED_PREFIX) else ""


def with_backlog(endpoint: str) -> str:
    """Return a Twisted endpoint string with a backlog, unless it has one or the kind of endpoint has none."""
    kind, *arguments = re.split(r"(?<!\\):", endpoint.removeprefix(PROXY_PREFIX))
    named = [argument for argument in arguments if re.match(r"[a-z]+=", argument)]
    has_backlog = len(arguments) - len(named) >= 3 or any(argument.startswith("backlog=") for argument in named)
    return endpoint if kind not in BACKLOG_KINDS or has_backlog else f"{endpoint}:backlog={BACKLOG}"


def families() -> Families:
    """Return which IP versions this machine has, and whether an IPv6 socket accepts IPv4 connections too."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
            alone = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    except OSError:
        return Families.IPV4
    return Families.SEPARATE if alone else Families.SHARED


def _tcp(text: str, host: str, port: str) -> Address:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        host = socket.inet_ntop(family, socket.inet_pton(family, host))
    except OSError:
        raise ValueError(f"{host!r} is not an IP address: {EXPECTED}") from None
    quoted = host.replace(":", r"\:")
    return Address(text, host, _port(port), f"tcp:{_port(port)}:interface={quoted}")


def _endpoint(text: str) -> Address:
    if text.partition(":")[0] not in KINDS:
        raise ValueError(f"{text!r} is not an address: {EXPECTED}")
    if text.removeprefix(PROXY_PREFIX).startswith(PASSED_PREFIX):
        return _passed(text)
    if not (match := _TCP.match(text)):
        if re.match(r"(?:haproxy:)?tcp", text):
            raise ValueError(f"{text!r} has no port: {EXPECTED}")
        address = Address(text, endpoint=text)
        if text.startswith("unix:") and not (
            address.unix_path.startswith("/") and len(address.unix_path) <= PATH_LENGTH
        ):
            raise ValueError(f"{text!r} is not an absolute path of up to {PATH_LENGTH} characters: {EXPECTED}")
        return address
    interface = _INTERFACE.search(text)
    host = interface[1].replace("\\", "") if interface else (ANY_IPV4 if match[1] == "tcp" else "::")
    return Address(text, host, _port(match[2], least=0), text)


def _passed(text: str) -> Address:
    """Parse a socket of systemd, with its name alone or in Twisted's form, whose domain the socket itself knows."""
    if not (match := _PASSED.fullmatch(text)):
        remedy = 'write "systemd:NAME" with the FileDescriptorName= of its .socket unit'
        raise ValueError(f"{text!r} names no socket of systemd: {remedy}")
    wrapping, *references = match.groups("")
    return Address(text, endpoint=f"{wrapping}{PASSED_PREFIX}{''.join(references)}")


def _port(text: str, least: int = 1) -> int:
    port = int(text or -1)
    if not least <= port <= 65535:
        raise ValueError(f"{text!r} is not a port: write a number from {least} to 65535")
    return port
