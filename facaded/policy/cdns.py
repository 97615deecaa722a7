"""CDNs: what is known of one, whether its addresses may be handed out, and when it is checked again.

The redirect of a blob leads to a CDN, whose outage a client would see, but no registry. Pure; times are monotonic
seconds.
"""

from enum import Enum

from attrs import evolve, frozen

from facaded.policy.proofs import CHECK_PAUSE, LONGEST_WAIT, PATIENCE, RENEWAL


class Standing(Enum):
    """What is known of a CDN at one moment."""

    ALIVE = "alive"
    DEAD = "dead"
    UNDECIDED = "undecided"


@frozen
class Cdn:
    """What checks of one CDN have shown.

    `begun` is when its last check began, None before the first, and `running` is whether that is in progress. `ended`
    is when the last check with a result ended, None before the first; `alive` is the result, `reason` says why if it is
    bad, and `duration` is how long the check took.
    """

    begun: float | None = None
    running: bool = False
    ended: float | None = None
    alive: bool = False
    duration: float = 0.0
    reason: str = ""

    def begin(self, now: float) -> "Cdn":
        """Return what is known when a check begins."""
        return evolve(self, begun=now, running=True)

    def end(self, now: float, alive: bool | None, reason: str = "") -> "Cdn":
        """Return what is known when the check has ended; `alive` is None if it has shown nothing."""
        if alive is None or self.begun is None:
            return evolve(self, running=False)
        return evolve(self, running=False, ended=now, alive=alive, reason=reason, duration=now - self.begun)

    def standing(self, now: float, trust: float, doubted: float | None = None) -> Standing:
        """Return what is known by results that are new enough for `trust`, and newer than `doubted`.

        In the pause after a check no other one may begin, so its result counts in any case.
        """
        if self.ended is None or self.begun is None:
            return Standing.UNDECIDED
        is_new = now - self.ended <= max(trust, PATIENCE * self.duration) and not self._is_doubted(doubted)
        is_last = self.ended >= self.begun and not self.running and not self._may_begin(now)
        if not (is_new or is_last):
            return Standing.UNDECIDED
        return Standing.ALIVE if self.alive else Standing.DEAD

    def is_due(self, now: float, trust: float, doubted: float | None = None) -> bool:
        """Return whether a request now begins a check."""
        if not self._may_begin(now):
            return False
        return self.ended is None or not self.alive or self._is_doubted(doubted) or now - self.ended >= trust * RENEWAL

    def patience(self, now: float) -> float:
        """Return the seconds that a request may wait for the check in progress; 0 without one.

        Nobody waits for a check that has run for `LONGEST_WAIT`, so a CDN that hangs delays few requests.
        """
        if not self.running or self.begun is None:
            return 0.0
        return max(LONGEST_WAIT - (now - self.begun), 0.0)

    def _may_begin(self, now: float) -> bool:
        return not self.running and (self.begun is None or now - self.begun >= CHECK_PAUSE)

    def _is_doubted(self, doubted: float | None) -> bool:
        return doubted is not None and self.ended is not None and self.ended <= doubted
