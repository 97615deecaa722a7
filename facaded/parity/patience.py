"""Patience with a backend: how long a question may take, and when there is no point in another one."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import FailingError, NotFoundError
from facaded.net.client import describe_error

T = TypeVar("T")

ASK_TIME = 20.0
"""Seconds for one question to one backend, its token and its body included: each of its requests has 4."""

RUN_TIME = 1800.0
"""Seconds after which a backend is asked no more: 5000 references take a third of it where an answer takes 0.1 s."""

FAILURES = 3
"""Failures in a row, each of the backend as a whole, after which it is asked no more: it would not get better."""


class Patience:
    """Bounds the questions to one backend in time and in number of failures."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._failures = 0
        self._last = ""
        self._until = clock.seconds() + RUN_TIME

    async def ask(self, question: Coroutine[Deferred[Any], Any, T]) -> T:
        """Ask one question. Raises NotFoundError, or FailingError, at once if the backend has failed too often."""
        if self._failures >= FAILURES or self._clock.seconds() > self._until:
            question.close()
            raise FailingError(f"{self._last or 'too slow'}; asked no more", backend_wide=False)
        try:
            found = await Deferred.fromCoroutine(question).addTimeout(ASK_TIME, self._clock)
        except NotFoundError:
            self._failures = 0
            raise
        except TimeoutError:
            raise self._failed(FailingError("timeout", backend_wide=True)) from None
        except FailingError as error:
            raise self._failed(error) from None
        except Exception as error:  # whatever a registry answers, the comparison goes on
            raise FailingError(describe_error(error), backend_wide=False) from None
        self._failures = 0
        return found

    def _failed(self, error: FailingError) -> FailingError:
        self._failures = self._failures + 1 if error.backend_wide else 0
        self._last = str(error)
        return error
