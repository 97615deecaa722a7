"""The hosts that the backends lead to: token servers and CDNs. The log names each new CDN once."""

from collections.abc import Callable, Collection, Iterator, Mapping

from twisted.logger import Logger

from facaded.net.urls import origin
from facaded.policy.network_hosts import HostPort, HostPurpose, expected_of

MOST_HOSTS = 64
"""Hosts of one backend that are remembered: the largest registries have some ten."""

HOST_LENGTH = 253
"""Characters of the longest host name (RFC 1035 §2.3.4)."""

NoteHost = Callable[[str, HostPurpose, str], None]
"""Takes the URL of a backend, a purpose, and the URL that a request of facaded's or of a client goes to."""


def ignore_host(backend_url: str, purpose: HostPurpose, url: str) -> None:
    """Do nothing with a host."""


class SeenHosts:
    """Remembers the hosts of each backend, by the backend's URL, until `retain` is called without it."""

    _log = Logger()

    def __init__(self) -> None:
        self._hosts: dict[str, set[HostPort]] = {}
        self._full: set[str] = set()

    def note(self, backend_url: str, purpose: HostPurpose, url: str) -> None:
        """Remember that the backend at `backend_url` leads to `url`."""
        host, port = origin(url)
        if not host or len(host) > HOST_LENGTH:
            return
        self.add(backend_url, HostPort(purpose, host, port))

    def add(self, backend_url: str, place: HostPort) -> None:
        """Remember that the backend at `backend_url` leads to a host, named with `HOST_LENGTH` characters at most."""
        known = self._hosts.setdefault(backend_url, set())
        if place in known:
            return
        if sum(one.purpose is place.purpose for one in known) >= MOST_HOSTS:
            self._note_full(backend_url)
            return
        known.add(place)
        self._tell_new(backend_url, place)

    def named(self, urls: Mapping[str, str]) -> Iterator[tuple[str, HostPort]]:
        """Yield the hosts of the backends in `urls`, each after its backend's name, which is the key there."""
        for name, url in urls.items():
            yield from ((name, place) for place in sorted(self._hosts.get(url, ()), key=_order))

    def retain(self, urls: Collection[str]) -> None:
        """Forget the hosts of all backends but those at `urls`."""
        self._hosts = {url: hosts for url, hosts in self._hosts.items() if url in urls}
        self._full &= {*urls}

    def _note_full(self, backend_url: str) -> None:
        if backend_url not in self._full:
            self._full.add(backend_url)
            self._tell_full(backend_url)

    def _tell_new(self, backend_url: str, place: HostPort) -> None:
        """Log a new CDN, unless it is the backend itself: a registry may send blobs itself."""
        backend = origin(backend_url)
        is_itself = (place.host, place.port) == backend
        if place.purpose is HostPurpose.CDN and not is_itself and place not in expected_of(backend_url):
            self._log.info(
                "{backend}: new CDN {host}:{port}: facaded and clients must be able to connect to it",
                backend=backend[0],
                host=place.host,
                port=place.port,
            )

    def _tell_full(self, backend_url: str) -> None:
        """Log that a backend leads to more hosts than are remembered."""
        self._log.warn(
            "{backend}: it leads to more than {most} hosts: `facaded hosts` does not list the others",
            backend=origin(backend_url)[0],
            most=MOST_HOSTS,
        )


def _order(place: HostPort) -> tuple[str, int]:
    return place.host, place.port
