"""Lists of referrers in memory: fresh ones, and the last known ones, which are believed while their backend fails."""

from collections.abc import Callable
from typing import TypeAlias

from attrs import frozen

from facaded.net.expiring import ExpiringMap
from facaded.oci.referrers import Referrer
from facaded.oci.requests import Referrers

REFERRERS_SIZE = 16 << 20
"""Bytes of lists that are remembered, of all backends together: a list of ten signatures has about 5 kB."""

OVERHEAD_OF_LIST = 500
OVERHEAD_OF_REFERRER = 300
"""Bytes of memory that a list and an entry cost in addition to its text."""

Entries: TypeAlias = tuple[Referrer, ...]


@frozen
class PartialList:
    """What a backend lists in one of the two ways. `digest` is that of a fallback tag's index, empty if unknown."""

    entries: Entries = ()
    digest: str = ""


@frozen
class KnownList:
    """What a backend lists. `fresh_until` is until when it need not be asked again, in seconds."""

    entries: Entries
    tagged: PartialList
    fresh_until: float


class ReferrersCache:
    """A cache of lists of referrers, by backend and request.

    A list is fresh for `tag_ttl` seconds, and known for `stale_tags` seconds. `size` is in bytes, `seconds` returns
    monotonic time.
    """

    def __init__(self, size: int, tag_ttl: float, stale_tags: float, seconds: Callable[[], float]) -> None:
        self._tag_ttl = tag_ttl
        self._stale_tags = stale_tags
        self._seconds = seconds
        self._lists: ExpiringMap[tuple[str, str, str], KnownList] = ExpiringMap(size, _cost)

    @property
    def used(self) -> int:
        """The bytes of all lists."""
        return self._lists.used

    def fresh(self, backend: str, read: Referrers) -> KnownList | None:
        """Return the list of a backend that was stored within `tag_ttl`, else None."""
        known = self.last(backend, read)
        return known if known is not None and known.fresh_until > self._seconds() else None

    def last(self, backend: str, read: Referrers) -> KnownList | None:
        """Return the last list of a backend, else None."""
        return self._lists.get((backend, read.name, read.digest), self._seconds())

    def store(self, backend: str, read: Referrers, entries: Entries, tagged: PartialList) -> None:
        """Store the list that a backend answered."""
        now = self._seconds()
        known = KnownList(entries, tagged, now + self._tag_ttl)
        self._lists.put((backend, read.name, read.digest), known, now + max(self._tag_ttl, self._stale_tags))


def _cost(known: KnownList) -> int:
    entries = (*known.entries, *known.tagged.entries)
    return OVERHEAD_OF_LIST + sum(len(entry.descriptor) + OVERHEAD_OF_REFERRER for entry in entries)
