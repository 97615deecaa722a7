"""Lets the process's reactor run until something has happened."""

from collections.abc import Callable

from twisted.internet.task import deferLater

from facaded.net.reactor import installed

TURN = 0.002
"""Seconds for which the reactor runs at a time."""

MOST_TURNS = 2500

reactor = installed()


async def run(until: Callable[[], object] = lambda: False, turns: int = 0) -> None:
    """Run the reactor until a condition holds, or for a few turns without one. Fails if it does not hold in time."""
    for _ in range(turns or MOST_TURNS):
        if until():
            return
        await deferLater(reactor, TURN)
    assert turns or until(), "it did not happen in time"
