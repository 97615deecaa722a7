"""Starts the processes of the workers, and others for those that have ended or hang."""

import os
import signal
from collections.abc import Callable, Mapping

from attrs import define, evolve, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from facaded.admin.processes import UP
from facaded.workers.launch import Launch, Process, find_workers, has_ended, kill_hanging, start_worker
from facaded.workers.process_channel import ProcessChannel

FIRST_PAUSE = 0.1
"""Seconds before a worker is started that has ended; twice as many each time that it ends soon."""

LONGEST_PAUSE = 10.0
"""The most of these seconds."""

STEADY_TIME = 30.0
"""Seconds after which a worker has not ended soon."""

TAKEOVER_TIME = 1.0
"""Seconds that the workers of a first process that has died have to connect to this one."""

SILENCE = 20.0
"""Seconds without an answer after which a worker is killed; a new one has as long to connect."""

REAP_TIME = 0.05
"""Seconds from the end of a channel to the end of its process, at most: the kernel closes descriptors first."""


@define(eq=False)
class Worker:
    """One worker: its process if this one started it, its channel if it is connected, and since when it lives.

    `heard_at` is when its reactor last turned, `is_listening` whether it answers clients. Times are monotonic.
    """

    number: int
    process: Process | None = field(default=None, init=False)
    channel: ProcessChannel | None = field(default=None, init=False)
    pid: int | None = field(default=None, init=False)
    began_at: float = field(default=0.0, init=False)
    heard_at: float = field(default=0.0, init=False)
    is_listening: bool = field(default=False, init=False)
    pause: float = field(default=FIRST_PAUSE, init=False)
    starting: IDelayedCall | None = field(default=None, init=False, repr=False)

    @property
    def state(self) -> str:
        """Its state in a word, for the status."""
        if self.is_listening:
            return UP
        return "starting" if self.pid is not None else "ended"

    @property
    def is_starting(self) -> bool:
        """Whether its process will be started after a pause."""
        return self.starting is not None and self.starting.active()


class WorkerStarts:
    """Starts the workers of `launch`. `note_restart` is called for each that is started again.

    `dismissed` are the processes of workers that were told to stop, because others have taken their place.
    """

    _log = Logger()
    note_restart: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, clock: IReactorTime, launch: Callable[[], Launch], environ: Mapping[str, str]) -> None:
        self.workers: dict[int, Worker] = {}
        self.is_stopped = False
        self.dismissed: set[int] = set()
        self._search: IDelayedCall | None = None
        self._clock = clock
        self._launch = launch
        self._environ = environ

    def begin(self, pause: float) -> None:
        """Start the workers that have not connected after a pause, which is not 0 if there may be some already.

        Those of them that have not connected after SILENCE are killed.
        """
        if pause:
            self._search = self._clock.callLater(SILENCE, self._kill_silent)
        for number in range(1, self._launch().count):
            self.workers[number] = worker = Worker(number)
            worker.starting = self._clock.callLater(pause, self._start, worker)

    def stop(self) -> None:
        """Start no more."""
        self.is_stopped = True
        if self._search is not None and self._search.active():
            self._search.cancel()
        for worker in self.workers.values():
            if worker.starting is not None and worker.starting.active():
                worker.starting.cancel()

    def meet(self, worker: Worker, channel: ProcessChannel, pid: int) -> None:
        """Note that a worker has connected."""
        now = self._clock.seconds()
        if worker.pid != pid:
            worker.began_at = now
        worker.channel, worker.pid, worker.heard_at = channel, pid, now

    def lose(self, worker: Worker) -> None:
        """Replace a worker whose channel has ended."""
        if not self.is_stopped:
            self._clock.callLater(REAP_TIME, self._replace, worker)

    def check(self) -> None:
        """Kill the workers that have been silent for too long, and replace those that could not start."""
        now = self._clock.seconds()
        for worker in self.workers.values():
            if worker.channel is None and worker.process is not None and worker.process.poll() is not None:
                self._log.error("worker {number} could not start{how}", number=worker.number, how=_reap(worker))
                self._start_again(worker)
            elif worker.pid is not None and now - worker.heard_at > SILENCE and not worker.is_starting:
                number, pid = worker.number, worker.pid
                self._log.error("worker {number} (pid {pid}) does not answer: it is killed", number=number, pid=pid)
                _kill(worker)

    def has_living(self) -> bool:
        """Return whether a process of a worker has not ended."""
        return any(_lives(worker) for worker in self.workers.values())

    def kill_all(self) -> None:
        """Kill all workers that live."""
        for worker in self.workers.values():
            _kill(worker)

    def _start(self, worker: Worker) -> None:
        worker.starting = None
        if worker.channel is not None or self.is_stopped:
            return
        worker.began_at = worker.heard_at = self._clock.seconds()
        try:
            worker.process = start_worker(evolve(self._launch(), number=worker.number), self._environ)
        except OSError as error:
            self._log.error("worker {number} cannot be started ({error})", number=worker.number, error=error.strerror)
            self._start_again(worker)
        else:
            worker.pid = worker.process.pid

    def _kill_silent(self) -> None:
        """Kill the workers of an earlier first process that hang: others have taken their place."""
        for number, worker in self.workers.items():
            for pid in find_workers(self._launch().channel, number):
                if pid != worker.pid and pid not in self.dismissed:
                    kill_hanging(number, pid, self._log)

    def _start_again(self, worker: Worker) -> None:
        """Start a worker after a pause, which grows while it ends soon."""
        if self.is_stopped or worker.is_starting:
            return
        is_steady = self._clock.seconds() - worker.began_at >= STEADY_TIME
        pause = FIRST_PAUSE if is_steady else worker.pause
        worker.pause = min(2 * pause, LONGEST_PAUSE)
        self.note_restart()
        worker.starting = self._clock.callLater(pause, self._start, worker)

    def _replace(self, worker: Worker) -> None:
        """Start another worker for one that has ended, and end it if only its channel has."""
        if worker.channel is None and not self.is_stopped:
            number, pid, how = worker.number, worker.pid, _reap(worker)
            _kill(worker)
            worker.pid = None  # another process may get the number
            sentence = "worker {number} (pid {pid}) has ended{how}: starting another one"
            self._log.error(sentence, number=number, pid=pid, how=how)
            self._start_again(worker)


def _kill(worker: Worker) -> None:
    """Kill the process of a worker, if it lives."""
    _reap(worker)
    if worker.pid is not None:
        try:
            os.kill(worker.pid, signal.SIGKILL)
        except OSError:
            worker.pid = None


def _lives(worker: Worker) -> bool:
    _reap(worker)
    if worker.pid is not None:
        try:
            process = os.pidfd_open(worker.pid)
        except OSError:
            worker.pid = None
        else:
            worker.pid = None if has_ended(process) else worker.pid
            os.close(process)
    return worker.pid is not None


def _reap(worker: Worker) -> str:
    """Forget the process of a worker that has ended, and return how that was, if it is known."""
    status = None if worker.process is None else worker.process.poll()
    if status is None:
        return ""
    worker.process = worker.pid = None
    return f" by signal {-status}" if status < 0 else f" with status {status}"
