"""The types of the reactor: which of Twisted's interfaces facaded uses."""

import time

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)


class INetworkReactor(IReactorTime, IReactorTCP, IReactorPluggableNameResolver):
    """What a network client needs: connections, timers and name resolution."""


class IEventLoop(IReactorTime, IReactorFDSet):
    """What is needed to stop and start reading from descriptors."""


class IThreadedReactor(IReactorTime, IReactorThreads):
    """What is needed to use a thread, and to wait for it."""


class IFacadedReactor(INetworkReactor, IEventLoop, IThreadedReactor, IReactorCore, IReactorUNIX):
    """What the daemon and its commands need."""


def installed() -> IFacadedReactor:
    """Return the process's reactor, installing the default one if there is none yet."""
    from twisted.internet import reactor

    return reactor  # type: ignore[return-value]  # Twisted replaces this module with the reactor on import


def use_monotonic_time(reactor: IFacadedReactor) -> None:
    """Make the timers of this process independent of changes to the system clock. Call it before any is scheduled.

    Twisted's `reactor.seconds` is `time.time`, a plain attribute that both `callLater` and the main loop call.
    """
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
