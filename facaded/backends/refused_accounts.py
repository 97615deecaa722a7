"""Which of facaded's own accounts were refused, for the log and the status."""

from collections.abc import Collection

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from facaded.backends.own_account import EVERY_REPOSITORY

FORGET_TIME = 3600.0
"""Seconds after the last refusal for which an account counts as refused, if no request has tried it since."""


@frozen
class AccountRefusal:
    """A refused account: for which `repository`, the `problem` as a sentence, since when and when last (monotonic)."""

    repository: str
    problem: str
    since: float
    last: float


class RefusedAccounts:
    """The accounts that were refused, by backend. The log says when that begins and ends."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._refusals: dict[str, AccountRefusal] = {}

    def note(self, backend: str, repository: str, problem: str | None) -> None:
        """Store what is wrong with the account at `backend`; None if it works for `repository`. See `NoteAccount`."""
        refusal, now = self.of(backend), self._clock.seconds()
        if problem is None:
            if refusal is not None and refusal.repository in (EVERY_REPOSITORY, repository):
                del self._refusals[backend]
                self._tell(backend, None)
        elif refusal is None:
            self._refusals[backend] = AccountRefusal(repository, problem, now, now)
            self._tell(backend, problem)
        else:
            self._refusals[backend] = evolve(refusal, last=now)

    def of(self, backend: str) -> AccountRefusal | None:
        """Return the refusal of the account at `backend`, or None."""
        refusal = self._refusals.get(backend)
        if refusal is not None and self._clock.seconds() - refusal.last >= FORGET_TIME:
            del self._refusals[backend]
            return None
        return refusal

    def retain(self, backends: Collection[str]) -> None:
        """Remove all backends except these."""
        self._refusals = {name: refusal for name, refusal in self._refusals.items() if name in backends}

    def _tell(self, backend: str, problem: str | None) -> None:
        """Log what is wrong with the account at `backend`; None if it works again."""
        if problem is None:
            self._log.info("{backend}: facaded's account works again", backend=backend)
        else:
            self._log.warn("{backend}: {problem}", backend=backend, problem=problem)
