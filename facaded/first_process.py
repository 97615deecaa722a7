"""What the first process needs to have workers: the sockets that all share, the workers, and what they are told."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from facaded.admin.metrics import Metrics
from facaded.answering import Answering
from facaded.backends.watch import Watch
from facaded.config.cores import count_workers, usable_cores
from facaded.config.loading import Loaded
from facaded.config.paths import CONTROL_SOCKET, control_socket
from facaded.config.sections import Config
from facaded.listeners import OPERATORS, ListenFailure, StartError, endpoints
from facaded.net.batched_reactor import batched
from facaded.net.passed_sockets import PassedSocket, PassedSockets
from facaded.net.reactor import IFacadedReactor
from facaded.net.shared_listening import FIRST, SharedListening
from facaded.swaps import Swap
from facaded.tls.challenges import Challenges
from facaded.tls.termination import Termination
from facaded.workers.codec import MalformedError
from facaded.workers.division import divide
from facaded.workers.launch import VARIABLE, Launch, own_command
from facaded.workers.reports import WorkerReports
from facaded.workers.shared_challenges import CHALLENGE, OPERATOR_CHALLENGE, SharedChallenges
from facaded.workers.shared_work import SharedWork
from facaded.workers.sharing import Sharing, Topic
from facaded.workers.worker_pool import WorkerPool

SOCKET_NAME = "workers.sock"
"""The name of the workers' socket beside a control socket with its default name."""

LONGEST_PATH = 107
"""Bytes of the longest path of a socket: unix(7)."""


class FirstProcess:
    """The first of several processes that answer clients.

    `takeover` is what it was told by the worker that started it because the one before had died, else None.
    """

    _sharing: Sharing
    _work: SharedWork
    _watch: Watch

    def __init__(self, config: Config, reactor: IFacadedReactor, environ: Mapping[str, str], count: int) -> None:
        takeover = Launch.of_process(environ)
        self.takeover = takeover if takeover is not None and takeover.number == FIRST else None
        self._count = self.takeover.count if self.takeover is not None else count
        self._channel = str(_channel_path(control_socket(config, environ)))
        if self.takeover is not None:
            self._channel = self.takeover.channel
            self.passed = PassedSockets(self.takeover.passed)
        else:
            self.passed = PassedSockets.of_process(reactor, environ)
        self._duplicates: tuple[PassedSocket, ...] = ()
        self._endpoints: tuple[tuple[str, str], ...] = ()
        inherited = self.takeover.sockets if self.takeover is not None else None
        self.shared = SharedListening(batched(reactor), FIRST, self._count, inherited)
        self.pool = WorkerPool(reactor, self._describe, environ, self.takeover is not None)
        self.operator_challenges = SharedChallenges(self.pool.broadcast, OPERATOR_CHALLENGE)
        self.challenges = SharedChallenges(self.pool.broadcast, CHALLENGE, self.operator_challenges)

    @classmethod
    def of(cls, config: Config, reactor: IFacadedReactor, environ: Mapping[str, str]) -> "FirstProcess | None":
        """Return it if there are several processes by the settings, or because it takes over. Raises StartError."""
        count = count_workers(config, usable_cores())
        try:
            takes_over = Launch.of_process(environ) is not None
        except MalformedError as error:
            raise StartError(f"{VARIABLE}: {error}: only facaded itself sets this variable: remove it") from None
        return cls(config, reactor, environ, count) if count > 1 or takes_over else None

    def share(
        self,
        reactor: IFacadedReactor,
        watch: Watch,
        loaded: Loaded,
        tls: Termination | None,
        metrics: Metrics,
        reports: WorkerReports,
        answering: Answering,
    ) -> None:
        """Begin to tell the workers what changes, and to add up what they report."""
        self._sharing = sharing = Sharing(reactor, watch, self.pool.broadcast, loaded.text)
        self._work = SharedWork(reactor, self.pool, metrics, reports, answering)
        self._work.follow(loaded.config, watch)
        sharing.topics.update(self._work.topics)
        sharing.topics[CHALLENGE] = Topic(self.challenges.greet)
        sharing.topics[OPERATOR_CHALLENGE] = Topic(self.operator_challenges.greet)
        self.pool.greeter = sharing
        self._watch = watch
        if tls is not None:
            tls.follow_obtained(sharing.send_certificates)
            tls.certificates.files_changed = sharing.send_changed_files

    def begin_reload(self, _: Loaded) -> Swap:
        """Be the part of a reload that comes before all others: until its end, workers get no state."""
        return self._sharing.begin_reload

    def end_reload(self, loaded: Loaded) -> Swap:
        """Be the part of a reload that comes after all others: the workers get the settings."""

        def swap() -> None:
            self._sharing.end_reload(loaded.text)
            self._work.follow(loaded.config, self._watch)

        return swap

    def divide(self, loaded: Loaded) -> Loaded:
        """Return settings with the part of the limits that is this process's."""
        return evolve(loaded, config=self.divide_config(loaded.config))

    def divide_config(self, config: Config) -> Config:
        """Do the same with their content."""
        return divide(config, self._count)

    def choose_endpoints(self, config: Config, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """Return all endpoints to listen on, each after its key of [listen].

        Those for clients stay what they were if this process takes over: the workers listen there, and the kernel would
        give them connections to another address too. Raises StartError if the settings on the disk need others.
        """
        wanted = tuple(endpoints(config, environ))
        clients = tuple(one for one in wanted if one[0] not in OPERATORS)
        if self.takeover is not None and clients != self.takeover.endpoints:
            clients = self.takeover.endpoints
            if (config.tls is None and any(key == "listen.https" for key, _ in clients)) or config.rules.private:
                raise StartError("listen: its addresses are not those of the running workers: restart facaded")
        self._endpoints = clients
        return (*clients, *(one for one in wanted if one[0] in OPERATORS))

    def keep_passed(self) -> None:
        """Keep the sockets of systemd for other processes, after listeners have taken them and before they open."""
        self._duplicates = self.passed.duplicate_taken()

    def _describe(self) -> Launch:
        sockets = self.shared.descriptors
        return Launch(FIRST, self._count, self._channel, own_command(), sockets, self._duplicates, self._endpoints)


class Workers(Service):
    """Has the workers of `pool`, once the listeners are open. Raises StartError at its start."""

    def __init__(self, pool: WorkerPool, notify: Callable[[str], None]) -> None:
        self._pool = pool
        self._notify = notify

    def startService(self) -> None:
        Service.startService(self)
        try:
            self._pool.startService()
        except (CannotListenError, OSError) as error:
            failure = ListenFailure.of(error)
            raise StartError(f"{self._pool.path}, the socket of the workers: {failure.sentence}") from None
        if self._pool.takes_over:  # not before: this process ends if it cannot listen
            self._notify(f"MAINPID={os.getpid()}")

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return self._pool.stopService()


class StopWorkers(Service):
    """Tells the workers to stop when it is stopped itself; the pool waits for them later."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def stopService(self) -> None:
        Service.stopService(self)
        self._pool.begin_stop()


def _channel_path(control: Path) -> Path:
    """Return the path of the channel, beside the control socket: other daemons may have theirs in this directory.

    Raises StartError if it would be too long.
    """
    path = control.with_name(SOCKET_NAME if control.name == CONTROL_SOCKET else f"{control.name}.workers")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise StartError(
            f"listen.control: {path}, the socket of the workers beside it, would have a path of more than "
            f"{LONGEST_PATH} bytes, which is too long: choose a shorter one"
        )
    return path


def own_challenges(first: FirstProcess | None, operator_challenges: Challenges) -> Challenges:
    """Return what answers challenges, those of the operator last."""
    return Challenges(operator_challenges) if first is None else first.challenges
