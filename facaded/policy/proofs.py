"""Proofs: what a backend has answered lately, on which redirects rely.

A redirect's success cannot be seen from here, so its target must have proven that it works: each step of a pull has a
proof of its own, from a probe or a check. Pure: times are monotonic seconds, handed in.
"""

import math
from collections.abc import Callable, Mapping
from enum import Enum

from attrs import define, field, frozen

from facaded.oci.requests import Blob, Ping, Read
from facaded.policy.health import Step

LONGEST_WAIT = 1.0
"""Seconds after its start for which requests wait for a check; then they are served."""

CHECK_PAUSE = 1.0
"""Minimum seconds from the start of a check of a backend to the start of the next."""

RENEWAL = 0.5
"""The part of `health.trust` after which a proof is renewed while it still counts."""

PATIENCE = 2.0
"""A proof counts for so many times the duration of its check: a slow backend would otherwise never be proven."""


MOST_PATIENCE = 10.0
"""Most seconds that a proof counts, however long a check takes: probes are no further apart by default."""


class Need(Enum):
    """What a redirect needs: proofs of these steps.

    The client follows the redirect of a blob with a token that it has by then.
    """

    PULL = (Step.PING, Step.TOKEN, Step.MANIFEST)
    BLOB = (Step.BLOB, Step.CDN)

    __hash__ = object.__hash__  # every redirect looks proofs up by it, and the hash of Enum is in Python

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


class Validity(Enum):
    """How good the proofs of a need are.

    AGEING ones are still good, but a request renews them. STALE ones are too old, or there are none. FAILED: a step has
    failed since it last passed.
    """

    FRESH = "fresh"
    AGEING = "ageing"
    STALE = "stale"
    FAILED = "failed"


def need_of(request: Ping | Read) -> Need:
    """Return what the redirect of a request needs."""
    return Need.BLOB if isinstance(request, Blob) else Need.PULL


@frozen
class ProofState:
    """What proofs are made of: when each step last passed, which have failed since, and how long a check took."""

    passed: Mapping[Step, float]
    failed: frozenset[Step]
    duration: float


def ignore_change() -> None:
    """Do nothing with new proofs."""


@define
class Proofs:
    """The proofs of one backend: when each step last passed, which have failed since, and how long a check took.

    `_proven` is when the oldest proof of a need was given; minus infinity if one is missing. `changed` is called after
    each change.
    """

    _passed: dict[Step, float] = field(factory=dict, init=False)
    _failed: set[Step] = field(factory=set, init=False)
    _duration: float = field(default=0.0, init=False)
    _proven: dict[Need, float] = field(factory=dict, init=False)
    changed: Callable[[], None] = field(default=ignore_change, init=False, eq=False, repr=False)

    @property
    def state(self) -> ProofState:
        """All of it, for another process."""
        return ProofState(dict(self._passed), frozenset(self._failed), self._duration)

    def replace(self, state: ProofState) -> None:
        """Take over what another process knows."""
        self._passed, self._failed, self._duration = dict(state.passed), set(state.failed), state.duration
        self._find_proven()
        self.changed()

    @property
    def has_answered(self) -> bool:
        """Whether any step has ever passed."""
        return bool(self._passed)

    def passed_at(self, step: Step) -> float | None:
        """Return when a step last passed, or another one that stands for it; None if it never has."""
        return self._passed.get(step)

    def note_pass(self, now: float, *steps: Step) -> None:
        """Note that a good answer has arrived, to one step or to others that it stands for."""
        for step in steps:
            self._passed[step] = now
            self._failed.discard(step)
        self._find_proven()
        self.changed()

    def note_failure(self, step: Step) -> None:
        """Note that a step has failed."""
        self._failed.add(step)
        self.changed()

    def note_check(self, started: float, now: float) -> None:
        """Note how long a check took that began at `started`, if it proved everything: the next may take as long."""
        if all(self.proven_since(need, started) for need in Need):
            self._duration = now - started
            self.changed()

    def validity(self, need: Need, now: float, trust: float) -> Validity:
        """Return how good the proofs of `need` are. `trust` is the setting, in seconds."""
        if self._failed and not self._failed.isdisjoint(need.steps):
            return Validity.FAILED
        age = now - self._proven.get(need, -math.inf)
        if age <= trust * RENEWAL:
            return Validity.FRESH
        return Validity.AGEING if age <= max(trust, min(PATIENCE * self._duration, MOST_PATIENCE)) else Validity.STALE

    def proven_since(self, need: Need, start: float) -> bool:
        """Return whether every step of `need` has passed at `start` or later."""
        return self._proven.get(need, -math.inf) >= start

    def _find_proven(self) -> None:
        for need in Need:
            self._proven[need] = min(self._passed.get(step, -math.inf) for step in need.steps)
