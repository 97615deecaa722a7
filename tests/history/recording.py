"""A recorder for tests: with its real thread and file, and a clock that the test moves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Queue
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from facaded.history.past import DAY, HistoryPlace
from facaded.history.recorder import RecordedParts, Recorder
from facaded.oci.clients import Family
from facaded.policy.pull_counts import PullCounts
from facaded.policy.pull_kinds import PullKey, PullKind
from facaded.web.answered_requests import Outcome

T = TypeVar("T")

TODAY = 20_000
"""A day in 2024, counted from the epoch."""

NOON = TODAY * DAY + DAY / 2

WAIT = 10.0
"""Seconds within which the thread answers, however busy the machine is."""

SIZE = 16 << 20


def place(directory: Path, days: int = 90, size: int = SIZE) -> HistoryPlace:
    return HistoryPlace(directory, days, size)


def pull(
    reference: str = "v1", repository: str = "org/app", *, is_proven: bool = True, kind: PullKind = PullKind.IMAGE
) -> PullKey:
    return PullKey(repository, reference, Family.DOCKER, kind, is_proven)


class ThreadedClock(Clock):
    """A clock, and a reactor whose calls from threads wait until the test runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.from_threads: Queue[tuple[Callable[..., Any], tuple[Any, ...]]] = Queue()

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.from_threads.put((function, arguments))

    def run_call(self) -> None:
        """Wait for the next call of a thread, and run it."""
        function, arguments = self.from_threads.get(timeout=WAIT)
        function(*arguments)


@define
class Requests:
    """The counts of answered requests."""

    counts: dict[tuple[Outcome, Family], int] = field(factory=dict)

    def totals(self) -> Mapping[tuple[Outcome, Family], int]:
        return dict(self.counts)


@define
class Recording:
    """A recorder at a place that the test chooses."""

    directory: Path
    days: int = 90
    reactor: ThreadedClock = field(factory=ThreadedClock)
    pulls: PullCounts = field(factory=PullCounts)
    requests: Requests = field(factory=Requests)
    wall: float = NOON
    recorder: Recorder = field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = RecordedParts(self.pulls, self.requests)
        self.recorder = Recorder(self.reactor, lambda: self.wall, parts, place(self.directory, self.days))  # type: ignore[arg-type]

    def start(self) -> None:
        """Start it; it has opened its file afterwards."""
        self.recorder.startService()
        if self.days:
            self.reactor.run_call()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.reactor.advance(seconds)

    def wait_for(self, result: Deferred[T]) -> T:
        """Run calls of the thread until there is a result, and return or raise it."""
        results: list[T] = []
        failures: list[BaseException] = []
        result.addCallbacks(results.append, lambda failure: failures.append(failure.value))
        while not results and not failures:
            self.reactor.run_call()
        if failures:
            raise failures[0]
        return results[0]

    def stop(self) -> None:
        """Stop it."""
        self.wait_for(self.recorder.stopService())
