"""The hunt: all properties in turn with new random examples, until the time is over or one of them fails.

An example that takes longer than EXAMPLE_TIME fails, and so does a process that grows. Examples are not made smaller,
because that can take minutes: the printed seed repeats the hunt.
"""

import gc
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from attrs import define, field, frozen
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.checking import Property, no_error_is_logged

EXAMPLE_TIME = 1.0
"""Most seconds of processor time for one example. Waiting for a busy machine does not count."""

ROUND = 200
"""Usual examples of a round: enough that a property's turn begins rarely, and few enough that all have their turns."""

WARM_UP = 3
"""Rounds of all properties after which memory must not grow: until then, caches of Hypothesis and others fill."""

MOST_GROWTH = 64 << 20
"""Bytes of resident memory that a hunt may take after its warm-up.

Ten minutes take 6 MiB without one more object, for caches of Hypothesis and fragments; an hour may take as much again
for each ten minutes.
"""

MOST_OBJECTS = 5000
"""Objects that may be left after the warm-up: one for each twentieth example of an hour would be as many."""

STATM = Path("/proc/self/statm")
PAGE = 4096


class SlowExampleError(BaseException):
    """An example took longer than EXAMPLE_TIME. It is no Exception, so that nothing catches it on the way."""


@frozen
class Footprint:
    """What this process takes: resident memory in bytes, and objects that the garbage collector knows."""

    memory: int
    objects: int

    def __sub__(self, other: "Footprint") -> "Footprint":
        return Footprint(self.memory - other.memory, self.objects - other.objects)

    def __str__(self) -> str:
        return f"{self.memory / (1 << 20):+.1f} MiB, {self.objects:+} objects"


def measure() -> Footprint:
    """Return the footprint of this process, without garbage."""
    gc.collect()
    return Footprint(int(STATM.read_text().split()[1]) * PAGE, len(gc.get_objects()))


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Raise SlowExampleError when this block has used `seconds` of processor time."""

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        raise SlowExampleError(f"an example took longer than {seconds} s")

    previous = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


@define
class Score:
    """How many examples of a property were checked, and the slowest of them. `latest` is the one in progress."""

    count: int = 0
    slowest: float = 0.0
    slowest_example: Any = None
    latest: Any = None

    def check(self, checked: Property, example: Any, most_seconds: float) -> None:
        self.latest = example
        start = time.process_time()
        with limited_time(most_seconds):
            checked.check(example)
        took = time.process_time() - start
        self.count += 1
        if took > self.slowest:
            self.slowest, self.slowest_example = took, example


@define
class Hunt:
    """A hunt for failures of `properties`.

    `seconds` is a clock, `say` prints a line, and `footprint` is what this process takes. `round_size` is
    the number of examples of one property before the next one's turn, `example_time` the limit of one in seconds.
    """

    properties: Sequence[Property]
    first_seed: int
    seconds: Callable[[], float]
    say: Callable[[str], None]
    footprint: Callable[[], Footprint] = measure
    round_size: int = ROUND
    example_time: float = EXAMPLE_TIME
    scores: dict[str, Score] = field(factory=dict, init=False)

    def run(self, duration: float) -> int:
        """Hunt for `duration` seconds. Return 0, or 1 if a property has failed or the process has grown."""
        self.say(f"seed {self.first_seed}")
        end, rounds, warm = self.seconds() + duration, 0, Footprint(0, 0)
        while rounds <= WARM_UP or self.seconds() < end:
            for checked in self.properties:
                if not self._holds(checked, self.first_seed + rounds):
                    return 1
                if rounds > WARM_UP and self.seconds() >= end:
                    break
            rounds += 1
            warm = self.footprint() if rounds == WARM_UP else warm
        return self._report(self.footprint() - warm)

    def _holds(self, checked: Property, round_seed: int) -> bool:
        """Check a round of examples; print the one that fails."""
        score = self.scores.setdefault(checked.name, Score())
        examples = settings(
            max_examples=self.round_size,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        one = given(checked.examples)(lambda example: score.check(checked, example, self.example_time))
        check = examples(seed(round_seed)(one))
        try:
            with no_error_is_logged():
                check()
                gc.collect()  # an unhandled error of a Deferred is logged only when that is garbage
        except (Exception, SlowExampleError):
            self.say(traceback.format_exc())
            self.say(f"{checked.name}: fails after {score.count} examples, in the round with seed {round_seed}:")
            self.say(repr(score.latest))
            return False
        return True

    def _report(self, growth: Footprint) -> int:
        for name, score in self.scores.items():
            self.say(f"{name}: {score.count} examples, the slowest in {score.slowest * 1000:.0f} ms:")
            self.say(f"    {repr(score.slowest_example)[:200]}")
        grown = growth.memory > MOST_GROWTH or growth.objects > MOST_OBJECTS
        self.say(f"since the warm-up: {growth}{', which is too much' if grown else ''}")
        return 1 if grown else 0
