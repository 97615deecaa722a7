"""What backends answered recently that makes requests avoid them: failures, Retry-After, and "not found"."""

import hashlib
from collections.abc import Callable, Hashable, Iterable
from typing import TypeAlias, TypeVar

from attrs import evolve, frozen

from facaded.backends.failures import FailingError
from facaded.backends.manifests import Accept
from facaded.net.expiring import ExpiringMap
from facaded.oci.requests import Blob, ManifestRead, Read, Referrers, Tags

SUSPECT_TIME = 10.0
"""Seconds for which a backend that failed a request is tried after the others, until probes decide its state."""

NOT_FOUND_TIME = 5.0
"""Seconds for which a "not found" response is cached.

The cache key includes the accepted media types, because registries answer 404 for a manifest whose type is not in the
Accept header, and other clients may accept that type.
"""

CACHE_ENTRIES = 10_000
"""Entries in the cache of suspects, and in that of "not found" responses."""


Key = TypeVar("Key", bound=Hashable)

Scope: TypeAlias = str | bytes | None
"""What a backend is suspect for: a repository, a list by its key, or everything."""


@frozen
class Avoidance:
    """That requests avoid a backend until `until`, in monotonic seconds.

    Within `scope` it is suspect, and tried after the others; one that `rests` must not be asked at all.
    """

    backend: str
    scope: Scope
    until: float
    rests: bool = False


class RecentAnswers:
    """The recent answers of all backends. `seconds` returns monotonic time.

    `follower` is called with what failures in this process lead to, for the other processes; None if there are none.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.follower: Callable[[Avoidance], None] | None = None
        self._seconds = seconds
        self._suspects: ExpiringMap[tuple[str, Scope], float] = ExpiringMap(CACHE_ENTRIES)
        self._resting: ExpiringMap[str, float] = ExpiringMap(CACHE_ENTRIES)
        self._not_found: ExpiringMap[bytes, bool] = ExpiringMap(CACHE_ENTRIES)

    def note_failure(self, name: str, read: Read, error: FailingError) -> None:
        """Make a backend suspect, and let it rest for the Retry-After of a 429.

        A list counts for the same list only, because registries compute lists, and some slowly or not at all for a
        client's parameters. Other failures count for their repository or for the backend. The Retry-After of another
        status counts for the repository or the list: until then the backend stays suspect.
        """
        now = self._seconds()
        if error.limited and error.retry_after:
            self._avoid(Avoidance(name, None, now + error.retry_after, rests=True))
        is_list = isinstance(read, Tags | Referrers)
        scope = _list_key(read) if is_list else read.name
        is_wide = error.limited or (error.backend_wide and not is_list)
        self._avoid(Avoidance(name, None if is_wide else scope, now + SUSPECT_TIME))
        if error.retry_after > SUSPECT_TIME and not error.limited:
            self._avoid(Avoidance(name, scope, now + error.retry_after))

    def learn(self, avoidance: Avoidance) -> bool:
        """Avoid a backend, for a failure here or in another process; return whether that ends later than before."""
        now, name, until = self._seconds(), avoidance.backend, avoidance.until
        if avoidance.rests:
            return _extend(self._resting, name, until, now)
        return _extend(self._suspects, (name, avoidance.scope), until, now)

    def known(self) -> list[Avoidance]:
        """Return which backends are avoided."""
        now = self._seconds()
        suspects = [Avoidance(name, scope, until) for (name, scope), until in self._suspects.items(now)]
        return [*(Avoidance(name, None, until, rests=True) for name, until in self._resting.items(now)), *suspects]

    def note_not_found(self, name: str, read: Read, accept: Accept) -> None:
        """Remember that a backend does not have the content."""
        self._not_found.put(_key(name, read, accept), True, self._seconds() + NOT_FOUND_TIME)

    def is_suspect(self, name: str, read: Read) -> bool:
        """Return whether a backend is tried after the others for this read."""
        if not len(self._suspects):
            return False
        now = self._seconds()
        scopes = (None, read.name, _list_key(read)) if isinstance(read, Tags | Referrers) else (None, read.name)
        return any(self._suspects.get((name, scope), now) for scope in scopes)

    def is_resting(self, name: str) -> bool:
        """Return whether a backend must not be asked, because its Retry-After has not ended."""
        return self._resting.get(name, self._seconds()) is not None

    def lacks(self, name: str, read: Read, accept: Accept) -> bool:
        """Return whether a backend did not have the content a moment ago."""
        return len(self._not_found) > 0 and self._not_found.get(_key(name, read, accept), self._seconds()) is not None

    def order(self, backends: Iterable[str], read: Read) -> list[str]:
        """Return the backends in the order to try them: suspects last."""
        return sorted(backends, key=lambda name: self.is_suspect(name, read))

    def _avoid(self, avoidance: Avoidance) -> None:
        if self.learn(avoidance) and self.follower is not None:
            self.follower(avoidance)


def _extend(ends: ExpiringMap[Key, float], key: Key, until: float, now: float) -> bool:
    """Store when something ends, unless a later end is known; return whether it is stored."""
    known = ends.get(key, now)
    if until <= (now if known is None else known):
        return False
    ends.put(key, until, until)
    return True


def _list_key(read: Read) -> bytes:
    """Return a short key for a list and its query, which may be long."""
    return hashlib.sha256(repr(read).encode()).digest()


def _key(name: str, read: Read, accept: Accept) -> bytes:
    """Return a short key for a read. It ignores the query of a manifest or a blob, which has no effect."""
    without_query = evolve(read, query="") if isinstance(read, ManifestRead | Blob) else read
    return hashlib.sha256(repr((name, without_query)).encode() + accept.key).digest()
