"""The cache of blob addresses: where the backends redirected a blob to, for as long as that can be used again."""

from collections import Counter
from collections.abc import Callable

from attrs import frozen

from facaded.backends.presigned_urls import seconds_left
from facaded.net.expiring import ExpiringMap
from facaded.oci.requests import Blob

MARGIN = 60.0
"""Seconds before its expiry from which an address is no longer handed out: the client has to use it first."""

LONGEST_ADDRESS = 4096
"""Longest URL in characters that is stored; presigned URLs have about 2000."""

ENTRY_SIZE = 512
"""Bytes that an entry costs besides its URL, for its key and the table."""

MOST_BYTES = 10 << 20
"""Bytes of all entries, so there are at most 20,480."""


@frozen
class BlobAddress:
    """The URL of a blob. It is not handed out from `unusable` on, in seconds since the epoch.

    `doubts` is how often its backend had been doubted when it was stored.
    """

    url: str
    unusable: float
    doubts: int


class BlobAddresses:
    """Addresses by (backend, repository of the facade, digest), each for `lifetime` seconds, or until it expires.

    With a `lifetime` of 0 nothing is stored. `seconds` returns monotonic time, `wall` seconds since the epoch: both
    count, because only the latter goes on while the machine is suspended.
    """

    def __init__(self, lifetime: float, seconds: Callable[[], float], wall: Callable[[], float]) -> None:
        self._lifetime = lifetime
        self._seconds = seconds
        self._wall = wall
        self._addresses: ExpiringMap[tuple[str, str, str], BlobAddress] = ExpiringMap(MOST_BYTES, _cost)
        self._doubts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._addresses)

    def get(self, backend: str, read: Blob) -> str | None:
        """Return the address of a blob at a backend; None if there is none that can be used."""
        address = self._addresses.get((backend, read.name, read.digest), self._seconds())
        if address is None:
            return None
        if address.doubts == self._doubts[backend] and self._wall() < address.unusable:
            return address.url
        self.drop(backend, read)
        return None

    def store(self, backend: str, read: Blob, url: str) -> None:
        """Store an address that facaded's own request was redirected to, unless it expires too soon."""
        wall = self._wall()
        usable = seconds_left(url, wall) - MARGIN
        life = min(usable, self._lifetime)
        if life <= 0 or len(url) > LONGEST_ADDRESS:
            return
        address = BlobAddress(url, wall + usable, self._doubts[backend])
        self._addresses.put((backend, read.name, read.digest), address, self._seconds() + life)

    def drop(self, backend: str, read: Blob) -> None:
        """Drop the address of a blob at a backend."""
        self._addresses.discard((backend, read.name, read.digest))

    def doubt(self, backend: str) -> None:
        """Drop all addresses of a backend, because it or its CDN has failed."""
        self._doubts[backend] += 1


def _cost(address: BlobAddress) -> int:
    return len(address.url) + ENTRY_SIZE
