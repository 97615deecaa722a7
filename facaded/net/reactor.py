"""What facaded asks of Twisted's reactor, as types."""

import time

from twisted.internet.interfaces import (
    IReactorCore,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUNIX,
)


class INetworkReactor(IReactorTime, IReactorTCP, IReactorPluggableNameResolver):
    """What a client needs: connections, timers, and names."""


class IFacadedReactor(INetworkReactor, IReactorCore, IReactorUNIX, IReactorThreads):
    """What the daemon and its commands need."""


def installed() -> IFacadedReactor:
    """Return the process's reactor, installing the default one if there is none yet."""
    from twisted.internet import reactor

    return reactor  # type: ignore[return-value]  # a module that Twisted replaces by the reactor itself when imported


def use_monotonic_time(reactor: IFacadedReactor) -> None:
    """Make every timer of this process immune to clock steps. Call it before anything is scheduled.

    Twisted's `reactor.seconds` is `time.time`, a plain attribute that `callLater` and the main loop both ask.
    """
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
