"""The addresses that facaded listens on, in words, with a URL to try."""

from collections.abc import Collection, Iterable, Sequence

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from facaded.config.listen_addresses import ANY_IPV4

WILDCARDS = (ANY_IPV4, "::")
LOOPBACK = "127.0.0.1"

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that a URL does not name."""

SCHEMES = {"listen.https": "https"}
"""The scheme of a listener, unless it is http."""

OPERATORS = {"listen.admin": "admin", "listen.control": "control"}
"""What the operator's listeners are called."""


def describe_listeners(
    opened: Iterable[tuple[str, IAddress]],
    hosts: Sequence[str],
    proxied: Collection[IAddress] = (),
    public_port: int = 443,
) -> str:
    """Return a sentence without a full stop, as in `listening on http://[::]:8080; try http://localhost:8080/v2/`.

    `opened` are the addresses of the listeners after their keys of [listen]; `hosts` are the names that facaded answers
    for, or none for all names. At `proxied` addresses only a proxy can connect that sends the PROXY header.
    `public_port` is where clients reach the https listener by these names.
    """
    listed = list(opened)
    public = [f"{_url(key, address)}" for key, address in listed if key not in OPERATORS]
    sentences = [f"listening on {', '.join(public)}"] if public else []
    sentences += [f"{OPERATORS[key]} on {_url(key, address)}" for key, address in listed if key in OPERATORS]
    direct = [(key, address) for key, address in _best_first(listed) if address not in proxied]
    examples = [url for key, address in direct if (url := _example(key, address, hosts, public_port))]
    return "; ".join([*sentences, *(f"try {url}" for url in examples[:1])])


def _best_first(listed: Iterable[tuple[str, IAddress]]) -> list[tuple[str, IAddress]]:
    """Return the listeners for clients, those for https first: the plain port may only redirect there."""
    return sorted((pair for pair in listed if pair[0] not in OPERATORS), key=lambda pair: pair[0] not in SCHEMES)


def _url(key: str, address: IAddress) -> str:
    match address:
        case IPv4Address(host=host, port=port) | IPv6Address(host=host, port=port):
            return f"{SCHEMES.get(key, 'http')}://{_bracketed(host)}:{port}"
        case UNIXAddress():
            return f"unix:{address.name.decode(errors='replace')}" if address.name else "a Unix socket"
        case _:
            return "a socket"


def _example(key: str, address: IAddress, hosts: Sequence[str], public_port: int) -> str:
    """Return a URL that answers `GET /v2/`; empty for a Unix socket.

    Over plain HTTP there may be a proxy in front, so the names may lead there; an IP address is answered in any case.
    """
    if not isinstance(address, IPv4Address | IPv6Address):
        return ""
    scheme = SCHEMES.get(key, "http")
    local = LOOPBACK if hosts else "localhost"
    is_public = bool(hosts) and scheme == "https"
    host = hosts[0] if is_public else local if address.host in WILDCARDS else address.host
    number = public_port if is_public else address.port
    port = "" if number == DEFAULT_PORTS[scheme] else f":{number}"
    return f"{scheme}://{_bracketed(host)}{port}/v2/"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
