"""Work that is done once for each key, and work that is done a few pieces at a time."""

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from facaded.net.single_flight import SingleFlight

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")


class Once(Generic[Key, T]):
    """Work that is done once for each key, whose result is kept."""

    def __init__(self) -> None:
        self._done: dict[Key, T] = {}
        self._under_way: SingleFlight[Key, T] = SingleFlight()

    async def get(self, key: Key, begin: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> T:
        """Return the result of the work for `key`, which `begin` starts if it is neither done nor under way."""
        if key not in self._done:
            self._done[key] = await self._under_way.get(key, begin)
        return self._done[key]


async def in_turn(
    works: Sequence[Callable[[], Coroutine[Deferred[Any], Any, T]]],
    at_once: int,
    progress: Callable[[int, int], None],
) -> list[T]:
    """Do all the work, `at_once` pieces at a time, and return the results in the order of the work.

    `progress` is called with how many pieces are done, and of how many.
    """
    results: dict[int, T] = {}
    left = iter(enumerate(works))

    async def worker() -> None:
        for index, work in left:
            results[index] = await work()
            progress(len(results), len(works))

    await gatherResults([Deferred.fromCoroutine(worker()) for _ in range(at_once)])
    return [results[index] for index in sorted(results)]
