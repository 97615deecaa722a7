"""Limits on the requests to one backend: how long each may take, and when to stop sending more."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from facaded.backends.failures import FailingError, NotFoundError
from facaded.net.client import describe_error

T = TypeVar("T")

TASK_TIME = 20.0
"""Seconds for one task at one backend, with its token and its body: each HTTP request has 4."""

RUN_TIME = 1800.0
"""Seconds after which a backend gets no more requests: 5000 references take a third of it at 0.1 s per response."""

FAILURES = 3
"""Consecutive backend-wide failures after which a backend gets no more requests: it is down."""


class RequestLimits:
    """Limits the time and the number of failures of the requests to one backend."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._failures = 0
        self._last = ""
        self._until = clock.seconds() + RUN_TIME

    async def run(self, task: Coroutine[Deferred[Any], Any, T]) -> T:
        """Run one task. Raises NotFoundError or FailingError; the latter at once if a limit has been reached."""
        if self._failures >= FAILURES or self._clock.seconds() > self._until:
            task.close()
            raise FailingError(f"{self._last or 'too slow'}; gave up", backend_wide=False)
        try:
            result = await Deferred.fromCoroutine(task).addTimeout(TASK_TIME, self._clock)
        except NotFoundError:
            self._failures = 0
            raise
        except TimeoutError:
            raise self._failed(FailingError("timeout", backend_wide=True)) from None
        except FailingError as error:
            raise self._failed(error) from None
        except Exception as error:  # the comparison goes on, whatever a registry answers
            raise FailingError(describe_error(error), backend_wide=False) from None
        self._failures = 0
        return result

    def _failed(self, error: FailingError) -> FailingError:
        self._failures = self._failures + 1 if error.backend_wide else 0
        self._last = str(error)
        return error
