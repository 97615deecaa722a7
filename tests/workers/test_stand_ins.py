"""A process accepts from the sockets of those that are missing, as long as they are."""

from attrs import define, field
from twisted.internet.task import Clock

from facaded.workers.stand_ins import LOOK_INTERVAL, StandIns


@define
class Sockets:
    """The sockets of other processes that are accepted from."""

    accepted: set[int] = field(factory=set)

    def stand_in(self, number: int) -> None:
        self.accepted.add(number)

    def stand_down(self, number: int) -> None:
        self.accepted.remove(number)


def test_it_stands_in_for_those_that_are_missing_as_long_as_they_are() -> None:
    clock, sockets, missing = Clock(), Sockets(), {1, 2}
    stand_ins = StandIns(clock, lambda: missing, sockets)
    stand_ins.startService()
    assert sockets.accepted == {1, 2}, "at the start, no worker is there"
    missing.remove(1)
    clock.advance(LOOK_INTERVAL)
    assert sockets.accepted == {2}
    missing.clear()
    clock.advance(LOOK_INTERVAL)
    assert sockets.accepted == set()
    missing.add(0)
    clock.advance(LOOK_INTERVAL)
    assert sockets.accepted == {0}
    stand_ins.stopService()
    assert clock.getDelayedCalls() == []
    stand_ins.stopService()
