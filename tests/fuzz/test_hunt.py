"""The hunt finds what it looks for: an exception, a logged error, an example that takes too long, and growth."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger

from tests.fuzz.checking import Property
from tests.fuzz.hunt import MOST_GROWTH, MOST_OBJECTS, Footprint, Hunt

ROUND = 20


def hunted(
    check: Callable[[int], None], footprint: Callable[[], Footprint] = lambda: Footprint(0, 0)
) -> tuple[int, str]:
    """Hunt for as long as the warm-up takes, and return the exit status and what was printed."""
    lines: list[str] = []
    checked = Property("numbers", st.integers(0, 9), check, ROUND)
    hunt = Hunt([checked], 1, Clock().seconds, lines.append, footprint, ROUND, example_time=0.05)
    return hunt.run(0), "\n".join(lines)


def test_a_property_that_holds_ends_with_its_counts_and_its_slowest_example() -> None:
    status, printed = hunted(lambda _: None)
    assert status == 0
    assert "numbers: " in printed
    assert "the slowest in " in printed


def test_an_exception_ends_the_hunt_with_the_example() -> None:
    def fails_for_seven(number: int) -> None:
        assert number != 7

    status, printed = hunted(fails_for_seven)
    assert status == 1
    assert printed.endswith("\n7")


def test_a_logged_error_ends_the_hunt(no_errors_are_logged: list[LogEvent]) -> None:
    status, _ = hunted(lambda _: Logger().error("broken"))
    assert status == 1
    no_errors_are_logged.clear()


def test_an_example_that_takes_too_long_ends_the_hunt_although_it_catches_exceptions() -> None:
    def never_ends(number: int) -> None:
        while True:
            with contextlib.suppress(Exception):
                sum(range(1000))

    status, printed = hunted(never_ends)
    assert status == 1
    assert "an example took longer than 0.05 s" in printed


@pytest.mark.parametrize("growth", [Footprint(MOST_GROWTH + 1, 0), Footprint(0, MOST_OBJECTS + 1)])
def test_growth_after_the_warm_up_ends_with_status_1(growth: Footprint) -> None:
    footprints = iter([Footprint(0, 0), growth])
    status, printed = hunted(lambda _: None, lambda: next(footprints))
    assert status == 1
    assert "which is too much" in printed
