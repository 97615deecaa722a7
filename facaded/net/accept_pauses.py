"""Pauses in accepting connections when this machine has no descriptors or memory for them.

Twisted would try again at once, because the connection still waits: that takes a whole CPU until there is room.
"""

import errno
from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReadDescriptor
from twisted.logger import ILogObserver, LogEvent, LogPublisher
from zope.interface import implementer

from facaded.net.reactor import IEventLoop

PAUSE = 1.0
"""Seconds until the next attempt to accept: clients wait as long in the backlog, or try again by themselves."""

NAMESPACE = "twisted.internet.tcp."
"""Begins the names of the loggers of Twisted's TCP and Unix ports. The log is the only place where they tell it."""

EMFILE_MESSAGE = "EMFILE encountered"
"""Begins the message of a port that closes waiting connections, because the process has no descriptor for them."""

_LACKS = {errno.errorcode[number] for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)}


@implementer(ILogObserver)
class AcceptPauses(Service):
    """Stops accepting for a moment when it fails, and calls `note` with the error's name, such as "EMFILE"."""

    def __init__(self, reactor: IEventLoop, publisher: LogPublisher, note: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._publisher = publisher
        self._note = note
        self._paused: list[IReadDescriptor] = []
        self._end: IDelayedCall | None = None

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        self._publisher.addObserver(self)

    def stopService(self) -> None:
        Service.stopService(self)
        self._publisher.removeObserver(self)
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def __call__(self, event: LogEvent) -> None:
        """Observe an event of the log."""
        if not str(event.get("log_namespace")).startswith(NAMESPACE):
            return
        if event.get("acceptError") in _LACKS:
            self._note(event["acceptError"])
            self._pause()
        elif str(event.get("log_format")).startswith(EMFILE_MESSAGE):
            self._note("EMFILE")

    def _pause(self) -> None:
        if self._end is None:
            self._end = self._reactor.callLater(PAUSE, self._resume)
        for reader in self._reactor.getReaders():
            if IListeningPort.providedBy(reader):
                self._reactor.removeReader(reader)
                self._paused.append(reader)

    def _resume(self) -> None:
        self._end = None
        paused, self._paused = self._paused, []
        for port in paused:
            if port.fileno() != -1:  # it may have been closed meanwhile
                self._reactor.addReader(port)
