"""The memory that answers keep until their clients have read them, within one budget for all connections."""

from collections import Counter
from collections.abc import Callable

from attrs import define, field

from facaded.backends.reached_limits import ReachedLimits
from facaded.policy.limits import Limit, Limits
from facaded.policy.sources import is_in, source_of


@define(eq=False)
class _Answer:
    """An answer that is being written; `abort` disconnects its client. `source` is empty for exempt clients."""

    source: str
    body: bytes
    buffer_size: int
    abort: Callable[[], None]


@define
class _SharedBody:
    """A body that answers are being written from. It counts for the source of the first of them."""

    body: bytes
    answers: dict[_Answer, None] = field(factory=dict)

    @property
    def source(self) -> str:
        return next(iter(self.answers)).source


class UnsentBytes:
    """Admits large answers as long as what all of them keep in memory fits `limits.unsent_bytes`.

    An answer keeps its body, which many answers may share (a manifest from the cache, which may evict it meanwhile),
    and a buffer of its own. If it does not fit, the oldest answers of the largest source make room, as long as that
    has more than the source of the new one would have: otherwise one client that reads slowly could keep all memory.
    Exempt clients make no room. Reached limits are noted in `reached_limits`.
    """

    def __init__(self, limits: Limits, reached_limits: ReachedLimits) -> None:
        self.reconfigure(limits)
        self._reached_limits = reached_limits
        self._bodies: dict[int, _SharedBody] = {}
        self._answers: dict[str, dict[_Answer, None]] = {}
        self._of_source: Counter[str] = Counter()
        self.used = 0

    @property
    def stall_time(self) -> float:
        """Seconds for which a client may read nothing of its answer."""
        return self._limits.stall_time

    def reconfigure(self, limits: Limits) -> None:
        """Apply new limits. Answers that were admitted are written to their end, if nothing else needs their room."""
        self._limits = limits

    def admit(
        self, body: bytes, buffer_size: int, address: str, abort: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Count an answer with this body and a buffer of `buffer_size` bytes; return None if it does not fit.

        `address` is the client's. `abort` disconnects it, to make room for others.

        Call what is returned once, when the answer has been written or its client has disconnected.
        """
        source = "" if is_in(address, self._limits.exempt) else source_of(address)
        while self.used + (needed := self._needed(body, buffer_size)) > self._limits.unsent_bytes:
            if not self._make_room(self._of_source[source] + needed):
                self._reached_limits.note(Limit.UNSENT_BYTES, source_of(address))
                return None
        answer = _Answer(source, body, buffer_size, abort)
        self._add(answer)
        return lambda: self._remove(answer)

    def note_stall(self, address: str) -> None:
        """Note that a client was disconnected because it read nothing for `stall_time`."""
        self._reached_limits.note(Limit.STALL_TIME, source_of(address))

    def _needed(self, body: bytes, buffer_size: int) -> int:
        return buffer_size + (0 if id(body) in self._bodies else len(body))

    def _make_room(self, size: int) -> bool:
        """Disconnect the oldest reader of the largest source; return False if none has more than `size` bytes."""
        largest = max((source for source in self._answers if source), key=self._of_source.__getitem__, default=None)
        if largest is None or self._of_source[largest] <= size:
            return False
        answer = next(iter(self._answers[largest]))
        self._remove(answer)
        self._reached_limits.note(Limit.UNSENT_BYTES, largest)
        answer.abort()
        return True

    def _add(self, answer: _Answer) -> None:
        self._answers.setdefault(answer.source, {})[answer] = None
        self._count(answer.source, answer.buffer_size)
        shared = self._bodies.setdefault(id(answer.body), _SharedBody(answer.body))
        shared.answers[answer] = None
        if len(shared.answers) == 1:
            self._count(answer.source, len(answer.body))

    def _remove(self, answer: _Answer) -> None:
        """Forget an answer, unless it made room before. If its body stays, it counts for the next answer's source."""
        answers = self._answers.get(answer.source, {})
        if answer not in answers:
            return
        del answers[answer]
        if not answers:
            del self._answers[answer.source]
        shared, size = self._bodies[id(answer.body)], len(answer.body)
        self._count(shared.source, -size)
        self._count(answer.source, -answer.buffer_size)
        del shared.answers[answer]
        if shared.answers:
            self._count(shared.source, size)
        else:
            del self._bodies[id(answer.body)]

    def _count(self, source: str, size: int) -> None:
        self.used += size
        self._of_source[source] += size
        if not self._of_source[source]:
            del self._of_source[source]
