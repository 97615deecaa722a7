"""The command of the control socket that ends the wait for failbacks."""

from collections.abc import Iterable, Iterator

from facaded.admin.commands import NOT_SAVED, KeepsState
from facaded.admin.control import CommandTable, Parameters
from facaded.admin.protocol import FailedBack
from facaded.backends.watch import Watch
from facaded.policy.changes import Takeover
from facaded.policy.health import Purpose

NOTHING_WAITS = "no backend was waiting for its failback"

_ANSWERS = {Purpose.REDIRECT: "redirects", Purpose.SERVE: "serving"}


class FailbackCommand:
    """Ends the wait; `state` writes the state file."""

    def __init__(self, watch: Watch, state: KeepsState) -> None:
        self._watch = watch
        self._state = state

    @property
    def table(self) -> CommandTable:
        """The command by method and path."""
        return {("POST", "/failback"): self.fail_back}

    def fail_back(self, _: Parameters) -> FailedBack:
        """Fail back now, wherever an earlier backend is up. Warns if none was waiting."""
        moves = tuple(_describe(self._watch.failbacks.end_wait()))
        warnings = () if moves else (NOTHING_WAITS,)
        if not self._state.saved:
            warnings = (*warnings, NOT_SAVED)
        return FailedBack(moves, self._watch.snapshot().explain(), warnings)


def _describe(takeovers: Iterable[Takeover]) -> Iterator[str]:
    """Yield a sentence for each pair of backends; several routes may have the same ones."""
    purposes: dict[tuple[str, str], set[Purpose]] = {}
    for takeover in takeovers:
        purposes.setdefault((takeover.before, takeover.after), set()).add(takeover.place[1])
    for (before, after), affected in purposes.items():
        answers = " and ".join(_ANSWERS[purpose] for purpose in Purpose if purpose in affected)
        yield f"{after} is active again instead of {before}, for {answers}"
