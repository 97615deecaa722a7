"""Memory is given back after many connections have ended."""

import pytest
from attrs import define, field
from twisted.internet.task import Clock

from facaded.net.freed_memory import DELAY, LEAST_CONNECTIONS, PAUSE, FreedMemory, find_release


@define
class Releases:
    """A clock, and how often memory was given back, which takes `duration` seconds."""

    clock: Clock = field(factory=Clock)
    count: int = 0
    duration: float = 0.0

    def release(self) -> None:
        self.count += 1
        self.clock.advance(self.duration)


@pytest.fixture
def releases() -> Releases:
    return Releases()


@pytest.fixture
def memory(releases: Releases) -> FreedMemory:
    return FreedMemory(releases.clock, releases.release)


def end(memory: FreedMemory, most: int, least: int = 0) -> None:
    """Let connections end, one after the other, until `least` are left of `most`."""
    for left in range(most - 1, least - 1, -1):
        memory.note_end(left)


def test_memory_is_given_back_once_when_many_connections_have_ended(memory: FreedMemory, releases: Releases) -> None:
    end(memory, 64)
    assert releases.count == 0
    releases.clock.advance(DELAY)
    assert releases.count == 1
    assert releases.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("most", "least"), [(LEAST_CONNECTIONS - 1, 0), (64, 33)], ids=["few", "under a half"])
def test_nothing_is_given_back_if_few_have_ended(
    memory: FreedMemory, releases: Releases, most: int, least: int
) -> None:
    end(memory, most, least)
    assert releases.clock.getDelayedCalls() == []


def test_a_release_that_takes_long_is_not_repeated_soon(memory: FreedMemory, releases: Releases) -> None:
    releases.duration = 0.05
    end(memory, 64)
    releases.clock.advance(DELAY)
    end(memory, 64)
    assert releases.clock.getDelayedCalls() == []
    releases.clock.advance(PAUSE * releases.duration)
    end(memory, 64)
    releases.clock.advance(DELAY)
    assert releases.count == 2


def test_the_c_library_of_this_machine_can_give_memory_back() -> None:
    release = find_release()
    assert release is not None
    release()
