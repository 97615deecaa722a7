"""A worker's link to the first process: it connects, and again whenever the first process has died.

Then the worker goes on with what it knows, and one of the workers starts a new first process: the one that gets a lock
on a file beside the socket.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IAddress, IConnector, IDelayedCall
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from facaded import __version__
from facaded.net.reactor import IFacadedReactor
from facaded.net.shared_listening import FIRST
from facaded.workers.launch import Launch, Process, find_workers, has_ended, kill_hanging, start_first
from facaded.workers.process_channel import Message, ProcessChannel

RETRY_TIME = 0.1
"""Seconds between two attempts to connect."""

START_TIME = 15.0
"""Seconds that a new first process has to listen; a busy machine may take a second."""

LONGEST_ABSENCE = 1.0
"""Seconds between two attempts after which this process did not run: the machine was suspended, or very busy."""

STEADY_TIME = 30.0
"""Seconds after which a first process has not ended soon."""

LONGEST_PAUSE = 30.0
"""Most seconds between two starts of a first process that ends soon, as it does if its settings cannot be used."""


class Link(Service):
    """Connects to the first process that `launch` names, and passes on its messages; it ends with the service.

    `on_change` is called with whether the first process can be reached, whenever that changes.
    """

    _log = Logger()
    _retry: IDelayedCall | None = None
    _began_at = 0.0

    def __init__(
        self,
        reactor: IFacadedReactor,
        launch: Callable[[], Launch],
        environ: Mapping[str, str],
        on_message: Callable[[Message], None],
        on_change: Callable[[bool], None],
    ) -> None:
        self._reactor = reactor
        self._launch = launch
        self._environ = environ
        self._on_message = on_message
        self._on_change = on_change
        self._path = Path(launch().channel)
        self._channel: ProcessChannel | None = None
        self._successor = Successor(reactor.seconds, launch, environ)
        self._has_met = False
        self._is_stopping = self._is_warned = False

    def startService(self) -> None:
        Service.startService(self)
        self._began_at = self._reactor.seconds()
        self._connect()

    def begin_stop(self) -> None:
        """Start no first process from now on: this worker stops."""
        self._is_stopping = True
        self._successor.leave_it()

    def stopService(self) -> None:
        Service.stopService(self)
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if self._channel is not None:
            self._channel.end()

    @property
    def is_reachable(self) -> bool:
        """Whether there is a first process, which reads what it is sent."""
        return self._channel is not None and not self._channel.is_blocked

    def missing(self) -> set[int]:
        """Return the number of the first process if there is none."""
        return {FIRST} if self._channel is None else set()

    def send(self, kind: str, message: Message | None = None) -> bool:
        """Send a message; return whether the first process can be reached and reads what it is sent."""
        channel = self._channel
        if channel is None or channel.is_blocked:
            return False
        channel.send(kind, message)
        return True

    def _connect(self) -> None:
        self._retry = None
        self._reactor.connectUNIX(str(self._path), _ChannelFactory(self))

    def build(self) -> ProcessChannel:
        """Return the channel of a new connection; `meet` is called when it is there."""
        return _Channel(self._take, self._lose, self.meet)

    def meet(self, channel: ProcessChannel) -> None:
        """Tell the first process who this is, and talk to it."""
        if not self.running:
            channel.close()
            return
        pid, user = channel.peer()
        if user != os.geteuid():
            if not self._is_warned:
                self._is_warned = True
                self._log.error("{path} is another user's: check who may write to its directory", path=str(self._path))
            channel.close()
            self.try_later()
            return
        self._channel = channel
        self._successor.end(pid)
        channel.send("hello", {"number": self._launch().number, "version": __version__})
        self._has_met = True
        self._on_change(True)

    def _is_orphan(self) -> bool:
        """Return whether the first process that started this worker has died."""
        parent = self._launch().parent
        return parent > 0 and os.getppid() != parent

    def _lose(self, channel: ProcessChannel) -> None:
        if self._channel is channel:
            self._channel = None
            self._on_change(False)
            if self.running:
                self._log.error("the first process has died: this worker goes on with what it knows")
                self.try_later()

    def try_later(self) -> None:
        """Connect again, and start a first process if there is none."""
        if not self.running:
            return
        if self._has_met and not self._is_stopping:
            self._successor.start_if_needed()
        elif not self._has_met and (self._is_orphan() or self._reactor.seconds() >= self._began_at + START_TIME):
            self._log.error("no first process answers: this worker ends")  # it has no settings, and so no use
            self._on_message({"kind": "stop"})
            return
        self._retry = self._reactor.callLater(RETRY_TIME, self._connect)

    def _take(self, _: ProcessChannel, message: Message) -> None:
        if message["kind"] == "alive":
            self.send("alive")
        else:
            self._on_message(message)


class _Channel(ProcessChannel):
    """A channel that calls `meet` when it is there."""

    def __init__(
        self,
        on_message: Callable[[ProcessChannel, Message], None],
        on_lost: Callable[[ProcessChannel], None],
        meet: Callable[[ProcessChannel], None],
    ) -> None:
        ProcessChannel.__init__(self, on_message, on_lost)
        self._meet = meet

    def connectionMade(self) -> None:
        ProcessChannel.connectionMade(self)
        self._meet(self)


class _ChannelFactory(ClientFactory):
    """Makes one channel. `UNIXClientEndpoint` would import all of Twisted's endpoints, which take 0.4 MiB."""

    noisy = False

    def __init__(self, link: Link) -> None:
        self._link = link

    def buildProtocol(self, addr: IAddress | None) -> ProcessChannel:
        return self._link.build()

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._link.try_later()


class Successor:
    """A first process that takes over, started by the one worker that has the lock."""

    _log = Logger()

    def __init__(self, seconds: Callable[[], float], launch: Callable[[], Launch], environ: Mapping[str, str]) -> None:
        self._seconds = seconds
        self._launch = launch
        self._environ = environ
        self._lock = SuccessionLock(seconds, launch)
        self._first: int | None = None
        self._process: Process | None = None
        self._started_at = 0.0
        self._pause = self._met_at = 0.0

    def start_if_needed(self) -> None:
        """Start a first process, unless another worker does, or this one did a moment ago."""
        now = self._seconds()
        if self._first is not None:
            if not has_ended(self._first):
                return  # it may hang, but there must not be two
            self._forget_first()
            if now - self._met_at >= STEADY_TIME:
                self._pause = 0.0
        is_starting = self._process is not None and self._process.poll() is None
        self._lock.show_life()
        if now < self._started_at + (START_TIME if is_starting else self._pause):
            return
        if not self._lock.acquire():
            return
        self._log.error("starting a new first process")
        self._started_at, self._pause = now, min(max(2 * self._pause, 1.0), LONGEST_PAUSE)
        try:
            self._process = start_first(self._launch(), self._environ)
        except OSError as error:
            self._log.error("a first process cannot be started ({reason})", reason=error.strerror)

    def end(self, pid: int) -> None:
        """Note the first process that there is, and give the lock back, for the next time."""
        self._forget_first()
        self._met_at = self._seconds()
        with contextlib.suppress(OSError):
            self._first = os.pidfd_open(pid)  # which is readable when it has ended, whoever has its number then
        if self._process is not None:
            self._process.poll()
        self._lock.give_back()

    def leave_it(self) -> None:
        """Leave it to another worker to start a first process."""
        self._lock.give_back()

    def _forget_first(self) -> None:
        if self._first is not None:
            os.close(self._first)
            self._first = None


class SuccessionLock:
    """The lock of the worker that may start a first process: it is on a file beside the socket of `launch`.

    The file has the holder's process number, and its time of modification changes while the holder's reactor turns. A
    holder that hangs is killed by another worker: there would be no first process otherwise.
    """

    _log = Logger()

    def __init__(self, seconds: Callable[[], float], launch: Callable[[], Launch]) -> None:
        self._seconds = seconds
        self._launch = launch
        self._file: int | None = None
        self._seen: tuple[bytes, int] | None = None
        self._seen_at = self._checked_at = 0.0

    def show_life(self) -> None:
        """Show the other workers that the holder does not hang; to be called more often than each START_TIME."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def acquire(self) -> bool:
        """Return whether this process has the lock now."""
        if self._file is not None:
            return True
        try:
            file = os.open(f"{self._launch().channel}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with contextlib.suppress(OSError):
                self._check_holder(file)
            os.close(file)
            return False
        self._file = file
        with contextlib.suppress(OSError):  # the disk may be full
            os.ftruncate(file, 0)
            os.pwrite(file, b"%d" % os.getpid(), 0)
        return True

    def give_back(self) -> None:
        """Let another worker have the lock."""
        self._seen = None
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _check_holder(self, file: int) -> None:
        """Kill a holder that this process has not seen turn for START_TIME."""
        now, seen = self._seconds(), (os.pread(file, 20, 0), os.fstat(file).st_mtime_ns)
        was_away, self._checked_at = now - self._checked_at > LONGEST_ABSENCE, now  # so the holder may have been too
        if seen != self._seen or was_away:
            self._seen, self._seen_at = seen, now
        elif now - self._seen_at >= START_TIME:
            self._seen = None
            for number in range(1, self._launch().count):
                for pid in find_workers(self._launch().channel, number):
                    if b"%d" % pid == seen[0] and pid != os.getpid():
                        kill_hanging(number, pid, self._log)
