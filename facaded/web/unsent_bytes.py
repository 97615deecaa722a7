"""The memory that answers keep until their clients have read them, within one budget for all connections."""

from collections.abc import Callable

from attrs import define

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limit, Limits
from facaded.policy.sources import source_of


@define
class _SharedBody:
    """A body that answers are being written from, and how many they are."""

    body: bytes
    readers: int = 0


class UnsentBytes:
    """Admits large answers as long as what all of them keep in memory fits `limits.unsent_bytes`.

    An answer keeps its body, which many answers may share (a manifest from the cache, which may evict it meanwhile),
    and a buffer of its own. Reached limits are noted in `reached_limits`.
    """

    def __init__(self, limits: Limits, reached_limits: ReachedLimits) -> None:
        self.reconfigure(limits)
        self._reached_limits = reached_limits
        self._bodies: dict[int, _SharedBody] = {}
        self.used = 0

    @property
    def stall_time(self) -> float:
        """Seconds for which a client may read nothing of its answer."""
        return self._limits.stall_time

    def reconfigure(self, limits: Limits) -> None:
        """Apply new limits. Answers that were admitted are written to their end."""
        self._limits = limits

    def admit(self, body: bytes, buffer_size: int, address: str) -> Callable[[], None] | None:
        """Count an answer with this body and a buffer of `buffer_size` bytes; return None if it does not fit.

        `address` is the client's.

        Call what is returned once, when the answer has been written or its client has disconnected.
        """
        shared = self._bodies.get(id(body))
        needed = buffer_size + (len(body) if shared is None else 0)
        if self.used + needed > self._limits.unsent_bytes:
            self._reached_limits.note(Limit.UNSENT_BYTES, source_of(address))
            return None
        self.used += needed
        shared = self._bodies.setdefault(id(body), _SharedBody(body))
        shared.readers += 1

        def release() -> None:
            self.used -= buffer_size
            shared.readers -= 1
            if not shared.readers:
                self.used -= len(body)
                del self._bodies[id(body)]

        return release

    def note_stall(self, address: str) -> None:
        """Note that a client was disconnected because it read nothing for `stall_time`."""
        self._reached_limits.note(Limit.STALL_TIME, source_of(address))
