"""The digests of tags: fresh ones for each backend, and the last known one, which is believed while its backend fails.

Without the latter, a copy that lags behind would turn tags back in time whenever the first backend fails. It is also
believed while few pulls are left there, if its manifest is cached, because a tag that has moved would cost one.
"""

from collections.abc import Callable

from attrs import frozen

from facaded.net.expiring import ExpiringMap

TAGS = 10_000
"""Tags whose digest is cached."""


@frozen
class TaggedRead:
    """A tag of a facade's repository, and a key for the accepted media types.

    The types belong to it because a registry picks one platform for a client that does not accept an index.
    """

    repository: str
    tag: str
    types: bytes


@frozen
class LastDigest:
    """The last known digest of a tag, and the backend that it was learned from."""

    digest: str
    backend: str


class TagCache:
    """A cache of tags' digests.

    A digest is fresh for `tag_ttl` seconds at its backend. The last one is known for `stale_tags` seconds after it was
    last confirmed; 0 disables that. `capacity` is the number of fresh digests, and `seconds` returns monotonic time.
    """

    def __init__(self, capacity: int, tag_ttl: float, stale_tags: float, seconds: Callable[[], float]) -> None:
        self._tag_ttl = tag_ttl
        self._stale_tags = stale_tags
        self._seconds = seconds
        self._fresh: ExpiringMap[tuple[str, TaggedRead], str] = ExpiringMap(capacity)
        self._last: ExpiringMap[TaggedRead, LastDigest] = ExpiringMap(TAGS if stale_tags else 0)

    def fresh(self, backend: str, read: TaggedRead) -> str | None:
        """Return the digest of a tag at a backend if it was stored within `tag_ttl`, else None."""
        return self._fresh.get((backend, read), self._seconds())

    def store(self, backend: str, read: TaggedRead, digest: str) -> None:
        """Store the digest that a backend answered."""
        self._fresh.put((backend, read), digest, self._seconds() + self._tag_ttl)

    def drop(self, backend: str, read: TaggedRead) -> None:
        """Remove a digest that the backend has no manifest for."""
        self._fresh.discard((backend, read))

    def confirm(self, backend: str, read: TaggedRead, digest: str) -> None:
        """Note the digest as the last known one, because the backend answered it and its manifest is there."""
        self._last.put(read, LastDigest(digest, backend), self._seconds() + self._stale_tags)

    def forget(self, backend: str, read: TaggedRead) -> None:
        """Remove what the backend answered, because it no longer has the tag."""
        self.drop(backend, read)
        last = self.last(read)
        if last is not None and last.backend == backend:
            self._last.discard(read)

    def last(self, read: TaggedRead) -> LastDigest | None:
        """Return the last known digest of a tag; None if no backend confirmed it within `stale_tags`."""
        return self._last.get(read, self._seconds())
