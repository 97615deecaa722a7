"""The digests of tags: fresh ones for each backend, and the last known one, which is believed while its backend fails.

Without the latter, a copy that lags behind would turn tags back in time whenever the first backend fails. It is also
believed while few pulls are left there, if its manifest is cached, because a tag that has moved would cost one.
"""

from collections.abc import Callable

from attrs import evolve, field

from facaded.net.expiring import ExpiringMap
from facaded.oci.frozen_values import frozen

TAGS = 10_000
"""Tags whose digest is cached."""

REPORTS = 20
"""Reports of a tag that is confirmed again and again in `stale_tags`: other processes forget it a twentieth too early
at most."""

GONE_TIME = 5.0
"""Seconds for which a removed tag is remembered, so that an earlier confirmation that arrives late is not believed."""


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
    """The last known digest of a tag, and the backend that it was learned from.

    `at` is when it was confirmed, and `reported` the `at` of the last news about it; both in monotonic seconds.
    """

    digest: str
    backend: str
    at: float = field(default=0.0, eq=False)
    reported: float = field(default=0.0, eq=False)


@frozen
class TagNews:
    """What a backend answered about a tag at `at`, in monotonic seconds: its digest, or None if the tag is gone."""

    read: TaggedRead
    backend: str
    digest: str | None
    at: float


class TagCache:
    """A cache of tags' digests.

    A digest is fresh for `tag_ttl` seconds at its backend. The last one is known for `stale_tags` seconds after it was
    last confirmed; 0 disables that. `capacity` is the number of fresh digests, and `seconds` returns monotonic time.
    `follower` is called with news about last digests that other processes do not have yet; None if there are none.
    """

    def __init__(self, capacity: int, tag_ttl: float, stale_tags: float, seconds: Callable[[], float]) -> None:
        self.follower: Callable[[TagNews], None] | None = None
        self._tag_ttl = tag_ttl
        self._stale_tags = stale_tags
        self._seconds = seconds
        self._fresh: ExpiringMap[tuple[str, TaggedRead], str] = ExpiringMap(capacity)
        self._last: ExpiringMap[TaggedRead, LastDigest] = ExpiringMap(TAGS if stale_tags else 0)
        self._gone: ExpiringMap[TaggedRead, float] = ExpiringMap(TAGS if stale_tags else 0)

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
        now = self._seconds()
        last = LastDigest(digest, backend, now)
        if self.follower is not None and self._stale_tags:
            before = self._last.get(read, now)
            if before is not None and before == last and now - before.reported < self._stale_tags / REPORTS:
                last = LastDigest(digest, backend, now, before.reported)
            else:
                last = LastDigest(digest, backend, now, now)
                self.follower(TagNews(read, backend, digest, now))
        self._last.put(read, last, now + self._stale_tags)

    def forget(self, backend: str, read: TaggedRead) -> None:
        """Remove what the backend answered, because it no longer has the tag."""
        self.drop(backend, read)
        last = self.last(read)
        if last is not None and last.backend == backend:
            self.forget_last(backend, read)

    def forget_last(self, backend: str, read: TaggedRead) -> None:
        """Remove the last digest, whichever backend it is from, because `backend` answered something without one."""
        if self.last(read) is None:
            return
        now = self._seconds()
        self._last.discard(read)
        if self.follower is not None:
            self._gone.put(read, now, now + GONE_TIME)
            self.follower(TagNews(read, backend, None, now))

    def last(self, read: TaggedRead) -> LastDigest | None:
        """Return the last known digest of a tag; None if no backend confirmed it within `stale_tags`."""
        return self._last.get(read, self._seconds())

    def learn(self, news: TagNews) -> None:
        """Take over what a backend answered another process, unless something newer is known here."""
        now, read = self._seconds(), news.read
        last = self._last.get(read, now)
        if last is not None and last.at > news.at:
            self._contradict(news, last)
            return
        gone_at = self._gone.get(read, now)
        if news.digest is None:
            self._gone.put(read, max(news.at, gone_at or news.at), now + GONE_TIME)
            self.drop(news.backend, read)
            self._last.discard(read)
        elif gone_at is None or gone_at < news.at:
            last = LastDigest(news.digest, news.backend, news.at, reported=news.at)
            self._last.put(read, last, news.at + self._stale_tags)

    def known(self) -> list[TagNews]:
        """Return the last known digests of all tags, the most recently used last, as another cache takes them over."""
        last_digests = self._last.items(self._seconds())
        return [TagNews(read, last.backend, last.digest, last.at) for read, last in last_digests][::-1]

    def _contradict(self, news: TagNews, last: LastDigest) -> None:
        """Report a last digest that is newer than other news, if the other processes took these for the latest."""
        if (last.digest, last.backend) == (news.digest, news.backend) or last.reported > news.at:
            return
        if self.follower is not None:
            self._last.replace(news.read, evolve(last, reported=last.at))
            self.follower(TagNews(news.read, last.backend, last.digest, last.at))
