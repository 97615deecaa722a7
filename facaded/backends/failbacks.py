"""Failbacks: an earlier backend becomes active again when it has been up for long enough, or when the operator says."""

from facaded.backends.roster import Roster
from facaded.policy.changes import Takeover
from facaded.policy.watch_state import fail_back


class Failbacks:
    """The failbacks of all routes."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def end_wait(self) -> tuple[Takeover, ...]:
        """Fail back now, wherever an earlier backend is up and waits, and return the changes of active backends."""
        snapshot = self._roster.snapshot()
        active = fail_back(snapshot.watch_state, snapshot.plan, snapshot.at)
        return self._roster.update(active=active).takeovers
