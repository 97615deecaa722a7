"""Answers what waits in the sockets of processes that are missing, however long it takes to replace them."""

from collections.abc import Callable, Collection
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

LOOK_INTERVAL = 0.1
"""Seconds between two looks at who is missing."""


class SharedSockets(Protocol):
    """Accepts from the sockets of other processes too."""

    def stand_in(self, number: int) -> None:
        """Accept from those of one process; do nothing if that is so already."""

    def stand_down(self, number: int) -> None:
        """Accept from them no more."""


class StandIns(Service):
    """Lets this process stand in for those whose numbers `missing` returns, with `sockets`."""

    def __init__(self, clock: IReactorTime, missing: Callable[[], Collection[int]], sockets: SharedSockets) -> None:
        self._missing = missing
        self._sockets = sockets
        self._standing: frozenset[int] = frozenset()
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def startService(self) -> None:
        Service.startService(self)
        self._looking.start(LOOK_INTERVAL)

    def stopService(self) -> None:
        Service.stopService(self)
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        missing = frozenset(self._missing())
        for number in self._standing - missing:
            self._sockets.stand_down(number)
        for number in missing:
            self._sockets.stand_in(number)
        self._standing = missing
