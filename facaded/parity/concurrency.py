"""Concurrency: run a task once per key, and run many tasks a few at a time."""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from facaded.net.single_flight import SingleFlight

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


class Memo(Generic[Key, T]):
    """Runs a task once per key and keeps its result."""

    def __init__(self) -> None:
        self._results: dict[Key, T] = {}
        self._in_progress: SingleFlight[Key, T] = SingleFlight()

    async def get(self, key: Key, begin: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Return the result for `key`. `begin` starts the task if it has neither run nor is in progress."""
        if key not in self._results:
            self._results[key] = await self._in_progress.get(key, begin)
        return self._results[key]


async def run_concurrently(
    tasks: Sequence[Callable[[], Coroutine[Deferred[Any], Any, T]]],
    limit: int,
    progress: Callable[[int, int], None],
) -> list[T]:
    """Run all tasks, `limit` at a time, and return their results in order.

    `progress` is called after each task with the number of finished tasks and the number of all tasks.
    """
    results: dict[int, T] = {}
    remaining = iter(enumerate(tasks))

    async def worker() -> None:
        for index, task in remaining:
            results[index] = await task()
            progress(len(results), len(tasks))

    await gatherResults([Deferred.fromCoroutine(worker()) for _ in range(limit)])
    return [results[index] for index in sorted(results)]
