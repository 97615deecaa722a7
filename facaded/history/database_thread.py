"""A thread of its own for the history: a slow disk delays nothing but the history."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")

WAITING = 20
"""Most jobs that wait: the disk is stuck if there are more."""


class BusyThreadError(Exception):
    """Too many jobs wait. The job will never run."""


class DatabaseThread:
    """Runs jobs one after the other. All its methods are for the reactor's thread."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._waiting = 0
        # A daemon thread, because the process must not wait at its end for a disk that is stuck.
        self._thread = Thread(target=self._work, name="facaded history", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the jobs that wait."""
        self._jobs.put(None)

    def run(self, job: Callable[[], T]) -> Deferred[T]:
        """Run a job, and return its result. Fails with BusyThreadError."""
        result: Deferred[T] = Deferred()
        if self._waiting >= WAITING:
            result.errback(BusyThreadError())
            return result
        self._waiting += 1

        def end(outcome: T | Failure) -> None:
            self._waiting -= 1
            result.callback(outcome)  # a Failure is an error

        def run_job() -> None:
            outcome: T | Failure
            try:
                outcome = job()
            except BaseException:
                outcome = Failure()
            self._reactor.callFromThread(end, outcome)

        self._jobs.put(run_job)
        return result

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
