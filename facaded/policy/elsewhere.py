"""Content that not every backend of its route has: the referrers that one of them alone lists, and their blobs."""

from collections.abc import Iterable

from facaded.net.expiring import ExpiringMap
from facaded.oci.referrers import is_referrers_tag
from facaded.oci.requests import Blob, ManifestRead, Read

ELSEWHERE_TIME = 3600.0
"""Seconds for which a digest is remembered after it was last listed: clients read what is listed at once."""

MOST_ELSEWHERE = 20_000
"""Digests that are remembered: twenty of the longest lists, with about 500 bytes of memory each."""


class Elsewhere:
    """The digests that clients must not be redirected to, because the active backend may not have them.

    All times are in seconds of a clock that never goes back.
    """

    def __init__(self) -> None:
        self._digests: ExpiringMap[tuple[str, str], bool] = ExpiringMap(MOST_ELSEWHERE)

    def note(self, repository: str, digests: Iterable[str], now: float) -> None:
        """Remember digests of a facade's repository."""
        for digest in digests:
            self._digests.put((repository, digest), True, now + ELSEWHERE_TIME)

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
