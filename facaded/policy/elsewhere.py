"""Content that not every backend of its route has: the referrers that one of them alone lists, and their blobs."""

from collections.abc import Callable, Iterable

from facaded.net.expiring import ExpiringMap
from facaded.oci.frozen_values import frozen
from facaded.oci.referrers import is_referrers_tag
from facaded.oci.requests import Blob, ManifestRead, Read

ELSEWHERE_TIME = 3600.0
"""Seconds for which a digest is remembered after it was listed: clients read what is listed at once."""

RENEWAL_TIME = ELSEWHERE_TIME / 20
"""Seconds after which a digest that is listed again is remembered anew, and other processes learn that."""

MOST_ELSEWHERE = 20_000
"""Digests that are remembered: twenty of the longest lists, with about 500 bytes of memory each."""


@frozen
class ListedDigest:
    """A digest of a facade's repository that is remembered until `until`."""

    repository: str
    digest: str
    until: float


class Elsewhere:
    """The digests that clients must not be redirected to, because the active backend may not have them.

    All times are in seconds of a clock that never goes back. `follower` is called with each digest that is noted, for
    other processes; None if there are none.
    """

    def __init__(self) -> None:
        self.follower: Callable[[ListedDigest], None] | None = None
        self._digests: ExpiringMap[tuple[str, str], float] = ExpiringMap(MOST_ELSEWHERE)

    def note(self, repository: str, digests: Iterable[str], now: float) -> None:
        """Remember digests of a facade's repository."""
        for digest in digests:
            listed = ListedDigest(repository, digest, now + ELSEWHERE_TIME)
            if self.learn(listed, now) and self.follower is not None:
                self.follower(listed)

    def learn(self, listed: ListedDigest, now: float) -> bool:
        """Remember a digest that was noted here or in another process; return False if it is already remembered."""
        key = listed.repository, listed.digest
        until = self._digests.get(key, now)
        if until is not None and listed.until - until < RENEWAL_TIME:
            return False
        self._digests.put(key, listed.until, listed.until)
        return True

    def known(self, now: float) -> list[ListedDigest]:
        """Return the digests that are remembered, the most recently used last."""
        listed = [ListedDigest(*key, until) for key, until in self._digests.items(now)]
        return listed[::-1]

    def has(self, read: Read, now: float) -> bool:
        """Return whether a manifest or a blob must be served; also for the tags of referrers, which any may have."""
        if isinstance(read, ManifestRead):
            reference = read.reference
            if "-" in reference and is_referrers_tag(reference):
                return True
        elif isinstance(read, Blob):
            reference = read.digest
        else:
            return False
        return bool(self._digests) and self._digests.get((read.name, reference), now) is not None
