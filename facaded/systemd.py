"""Notifications to the service manager, by sd_notify(3): ready, status, reloading, stopping, and the watchdog."""

import re
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.failover import summarise
from facaded.state import Clocks

STOP_TIME = 15.0
"""Seconds that a stop may take after its delay: the unit's TimeoutStopSec, which is for a stop without one."""

LEAST_INTERVAL = 0.05
"""The least seconds between two messages for the watchdog, so that WatchdogSec= cannot make the daemon busy."""


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between messages for the watchdog: half of its time, as sd_watchdog_enabled(3) recommends.

    None if the service manager watches no process, or another one than `pid`.
    """
    microseconds, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if watched != str(pid) or not re.fullmatch(r"0*[1-9][0-9]{0,17}", microseconds):
        return None
    return max(int(microseconds) / 2e6, LEAST_INTERVAL)


class Notifier:
    """Sends messages to the socket that NOTIFY_SOCKET in `environ` names; does nothing without that variable."""

    _log = Logger()

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET")
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address

    def __call__(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
                notify.sendto(message.encode(), self._address)
        except OSError as error:
            self._log.warn("systemd cannot be notified ({reason})", reason=error.strerror)


class Supervision(Service):
    """Reports the daemon's state to the service manager with `notify`. It is stopped before every other part.

    `clocks` returns the time by both clocks, for times of day in the status line. `stop_delay` is the time in seconds
    for which the listeners stay open after a stop.
    """

    def __init__(
        self, notify: Callable[[str], None], watch: Watch, clocks: Callable[[], Clocks], stop_delay: float = 0.0
    ) -> None:
        self._notify = notify
        self._watch = watch
        self._clocks = clocks
        self._stop_delay = stop_delay
        self._stopping = False
        watch.subscribe(self._notify_change)

    def startService(self) -> None:
        Service.startService(self)
        self._watch.when_settled().addCallback(lambda _: self.reloaded())

    def stopService(self) -> None:
        Service.stopService(self)
        self._stopping = True
        microseconds = round((self._stop_delay + STOP_TIME) * 1e6)
        self._notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={microseconds}" if self._stop_delay else "STOPPING=1")

    def reconfigure(self, stop_delay: float) -> None:
        """Apply a new stop delay."""
        self._stop_delay = stop_delay

    def why_not_ready(self) -> str | None:
        """Return why the daemon is not ready for requests; None if it is."""
        if self._stopping:
            return "stopping"
        return None if self._watch.settled else "waiting for the first probes"

    def reloading(self) -> None:
        """Report that a reload begins."""
        if not self._stopping:
            self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """Report that the daemon is ready, at the start or after a reload."""
        if self._watch.settled and not self._stopping:
            self._notify(f"READY=1\nSTATUS={self._summary()}")

    def _notify_change(self, _: Change) -> None:
        self._notify(f"STATUS={self._summary()}")

    def _summary(self) -> str:
        clocks, snapshot = self._clocks(), self._watch.snapshot()

        def time_of_day(monotonic: float) -> str:
            return datetime.fromtimestamp(clocks.to_wall(monotonic)).astimezone().strftime("%H:%M")

        healths, overrides = snapshot.watch_state.healths, snapshot.watch_state.overrides
        return summarise(tuple(healths), healths, snapshot.active, overrides, time_of_day)


class Watchdog(Service):
    """Reports with `notify` every `interval` seconds that the reactor turns; never if `interval` is None.

    The service manager restarts a daemon that does not report. Its time begins when the daemon is ready.
    """

    def __init__(self, reactor: IReactorTime, notify: Callable[[str], None], interval: float | None) -> None:
        self._reactor = reactor
        self._notify = notify
        self._interval = interval
        self._next: IDelayedCall | None = None

    def startService(self) -> None:
        Service.startService(self)
        self._report()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _report(self) -> None:
        if self._interval is not None:
            self._notify("WATCHDOG=1")
            self._next = self._reactor.callLater(self._interval, self._report)
