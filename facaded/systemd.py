"""What a service manager is told, by sd_notify(3): that facaded is ready, how it fares, that it reloads or stops."""

import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from twisted.application.service import Service
from twisted.logger import Logger

from facaded.backends.watch import Watch
from facaded.policy.changes import Change
from facaded.policy.failover import summarise
from facaded.state import Clocks


class Notifier:
    """Sends datagrams to the socket that NOTIFY_SOCKET in `environ` names; without one it does nothing."""

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
            self._log.warn("systemd cannot be notified ({why})", why=error.strerror)


class Supervision(Service):
    """Tells the service manager how the daemon fares, by `notify`. It is stopped before all else.

    `clocks` gives the time by both clocks, for a status that a person reads.
    """

    def __init__(self, notify: Callable[[str], None], watch: Watch, clocks: Callable[[], Clocks]) -> None:
        self._notify = notify
        self._watch = watch
        self._clocks = clocks
        self._stopping = False
        watch.subscribe(self._changed)

    def startService(self) -> None:
        Service.startService(self)
        self._watch.when_settled().addCallback(lambda _: self.reloaded())

    def stopService(self) -> None:
        Service.stopService(self)
        self._stopping = True
        self._notify("STOPPING=1")

    def why_not_ready(self) -> str | None:
        """Why requests are not answered yet, or not any more; None if they are."""
        if self._stopping:
            return "stopping"
        return None if self._watch.settled else "waiting for the first answers of the backends"

    def reloading(self) -> None:
        """The settings are about to be read again."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The daemon is ready, or ready again."""
        if self._watch.settled and not self._stopping:
            self._notify(f"READY=1\nSTATUS={self._summary()}")

    def _changed(self, _: Change) -> None:
        self._notify(f"STATUS={self._summary()}")

    def _summary(self) -> str:
        clocks, now = self._clocks(), self._watch.snapshot()

        def written(monotonic: float) -> str:
            return datetime.fromtimestamp(clocks.to_wall(monotonic)).astimezone().strftime("%H:%M")

        healths = now.watch_state.healths
        return summarise(tuple(healths), healths, now.active, now.watch_state.overrides, written)
