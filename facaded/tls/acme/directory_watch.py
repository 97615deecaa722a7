"""The watch over a directory that several daemons share: what another one stores is served within seconds."""

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from facaded.tls.acme.inventory import Inventory

WATCH_INTERVAL = 2.0
"""Seconds between looks at the files of the certificates; each is an open(2) and an fstat(2)."""


class DirectoryWatch:
    """Looks at the files of the certificates in `inventory`, while it runs; not at all unless they are `shared`."""

    def __init__(self, inventory: Inventory, clock: IReactorTime, shared: bool) -> None:
        self._inventory = inventory
        self._shared = shared
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def start(self) -> None:
        if self._shared:
            self._looking.start(WATCH_INTERVAL, now=False)

    def stop(self) -> None:
        if self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        for entry in self._inventory:
            self._inventory.follow(entry)
