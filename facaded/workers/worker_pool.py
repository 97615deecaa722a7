"""The workers of the first process, by their channels: it greets them, watches them, and stops them.

A worker is known by its channel, whoever started it: those of a first process that has died connect to the new one.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from facaded import __version__
from facaded.net.reactor import IFacadedReactor
from facaded.workers.codec import MalformedError
from facaded.workers.launch import Launch
from facaded.workers.process_channel import Message, ProcessChannel
from facaded.workers.worker_starts import REAP_TIME, TAKEOVER_TIME, Worker, WorkerStarts

ALIVE_INTERVAL = 2.0
"""Seconds between two questions to each worker whether its reactor turns."""

STOP_TIME = 8.0
"""Seconds that the workers have to stop, beyond `stop_delay`: more than the requests in flight have."""

END_TIME = 2.0
"""Seconds that their processes have to end after that."""

BACKLOG = 64


class Greeter(Protocol):
    """Knows what a worker has to know, and what is done with what it says."""

    def greet(self, send: Callable[[str, Message], None]) -> None:
        """Tell a worker everything."""

    def receive(self, number: int, kind: str, message: Message, reply: Callable[[str, Message], None]) -> None:
        """Take a message of a worker. Raises MalformedError."""

    def lose(self, number: int) -> None:
        """Forget what only a worker knew that has ended."""


class WorkerPool(Service):
    """Has the workers of `launch`, on whose `channel` it listens. Set its `greeter` before it starts.

    `takes_over` is whether a first process has died before this one, whose workers will connect. `starts` starts what
    is missing.
    """

    _log = Logger()
    greeter: Greeter
    _port: IListeningPort | None = None
    _stopped: Deferred[None] | None = None

    def __init__(
        self,
        reactor: IFacadedReactor,
        launch: Callable[[], Launch],
        environ: Mapping[str, str],
        takes_over: bool = False,
    ) -> None:
        self.starts = WorkerStarts(reactor, launch, environ)
        self.takes_over = takes_over
        self._reactor = reactor
        self._launch = launch
        self._first_pause = TAKEOVER_TIME if takes_over else 0.0
        self._watching = LoopingCall(self._watch)
        self._watching.clock = reactor

    @property
    def path(self) -> Path:
        """The path of the channel."""
        return Path(self._launch().channel)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers, those that are missing at the moment too."""
        return tuple(self.starts.workers.values())

    def missing(self) -> set[int]:
        """Return the numbers of the workers that do not answer clients."""
        return {worker.number for worker in self.workers if not worker.is_listening}

    def startService(self) -> None:
        """Listen on the channel, and start the workers; those of an earlier first process have time to connect.

        Raises CannotListenError or OSError.
        """
        Service.startService(self)
        path = self.path
        if path.is_socket():
            path.unlink()
        factory: Any = Factory.forProtocol(lambda: ProcessChannel(self._take, self._forget))
        factory.noisy = False
        self._port = self._reactor.listenUNIX(str(path), factory, BACKLOG, mode=0o600)
        self.starts.begin(self._first_pause)
        self._watching.start(ALIVE_INTERVAL, now=False)

    def broadcast(self, kind: str, message: Message, but: int | None = None) -> None:
        """Send a message to all workers, or all but one."""
        for worker in self.workers:
            if worker.channel is not None and worker.number != but:
                worker.channel.send(kind, message)

    def begin_stop(self) -> None:
        """Tell the workers to stop: each answers its requests in flight."""
        if not self.starts.is_stopped:
            self.starts.stop()
            self.broadcast("stop", {})

    def stopService(self) -> Deferred[None]:
        """Wait for the workers to end, and kill those that take too long."""
        Service.stopService(self)
        self.begin_stop()
        if self._watching.running:
            self._watching.stop()
        return Deferred.fromCoroutine(self._wait())

    async def _wait(self) -> None:
        if any(worker.channel for worker in self.workers):
            self.broadcast("hurry", {})  # the delay of this process is over, perhaps by a second signal
            timeout = self._reactor.callLater(STOP_TIME, self.starts.kill_all)
            self._stopped = Deferred()
            await self._stopped
            if timeout.active():
                timeout.cancel()
        deadline = self._reactor.seconds() + END_TIME
        while self.starts.has_living() and self._reactor.seconds() < deadline:  # they write the end of their log
            await deferLater(self._reactor, REAP_TIME)
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        self.starts.kill_all()

    def _find(self, channel: ProcessChannel) -> Worker | None:
        return next((worker for worker in self.workers if worker.channel is channel), None)

    def _take(self, channel: ProcessChannel, message: Message) -> None:
        kind, worker = message["kind"], self._find(channel)
        try:
            if worker is None:
                self._meet(channel, message)
            elif kind == "alive":
                worker.heard_at = self._reactor.seconds()
            elif kind == "listening":
                self._note_listening(worker)
            else:
                self.greeter.receive(worker.number, kind, message, channel.send)
        except MalformedError as error:
            self._log.warn("a worker sent an unusable message: {kind}: {error}", kind=kind, error=str(error))

    def _note_listening(self, worker: Worker) -> None:
        if not worker.is_listening:
            worker.is_listening = True
            self._log.info("worker {number} (pid {pid}) answers", number=worker.number, pid=worker.pid)

    def _meet(self, channel: ProcessChannel, message: Message) -> None:
        """Take in a worker that says who it is. One of another version is told to stop, and another one is started."""
        pid, user = channel.peer()
        worker = self.starts.workers.get(message.get("number", -1)) if message["kind"] == "hello" else None
        if (
            worker is None
            or worker.channel is not None
            or user != os.geteuid()
            or self.starts.is_stopped
            or message.get("version") != __version__
        ):
            self.starts.dismissed.add(pid)
            channel.send("stop", {})
            return
        self.starts.meet(worker, channel, pid)
        self.greeter.greet(channel.send)

    def _forget(self, channel: ProcessChannel) -> None:
        if (worker := self._find(channel)) is None:
            return
        worker.channel, worker.is_listening = None, False
        self.greeter.lose(worker.number)
        self.starts.lose(worker)
        if self._stopped is not None and not any(one.channel for one in self.workers):
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)

    def _watch(self) -> None:
        """Ask the workers whether they turn; kill those that do not, and note those that ended without a channel."""
        for worker in self.workers:
            if worker.channel is not None:
                worker.channel.send("alive")
        self.starts.check()
