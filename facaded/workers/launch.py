"""Starts the processes, and what each of them is told at its start.

A worker, and a first process that takes over, inherit the listening sockets, whose descriptors keep their numbers.
"""

import contextlib
import json
import os
import select
import signal
import subprocess  # nosec B404  # the command is this program
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import evolve, field, frozen
from twisted.logger import Logger

from facaded.net.passed_sockets import PassedSocket
from facaded.net.shared_listening import FIRST, Descriptors
from facaded.workers.codec import MalformedError, from_message, to_message

Process: TypeAlias = subprocess.Popen[bytes]

VARIABLE = "FACADED_PROCESS"
"""The variable with a `Launch` in JSON: it is only for processes that facaded starts."""

NOT_INHERITED = (VARIABLE, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")
"""Variables of the service manager's that are for one process, and this module's own."""


@frozen
class Launch:
    """What a process is told: its number, 0 for a first process that takes over, and of how many.

    `channel` is the path of the first process's socket. `sockets` and `passed` are the descriptors that it inherits:
    see `SharedListening` and `PassedSockets`. `command` starts a first process. `endpoints` are those for clients, each
    after its key of [listen]: all processes listen on the same, whatever the settings say since. `parent` is the first
    process that started a worker.
    """

    number: int
    count: int
    channel: str
    command: tuple[str, ...]
    sockets: Descriptors = field(factory=dict)
    passed: tuple[PassedSocket, ...] = ()
    endpoints: tuple[tuple[str, str], ...] = ()
    parent: int = 0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All descriptors that are inherited."""
        shared = (number for numbers in self.sockets.values() for number in numbers)
        return (*shared, *(passed.descriptor for passed in self.passed if passed.descriptor >= 0))

    @classmethod
    def of_process(cls, environ: Mapping[str, str]) -> "Launch | None":
        """Return what this process was told; None if facaded has not started it. Raises MalformedError."""
        if (text := environ.get(VARIABLE)) is None:
            return None
        try:
            return from_message(json.loads(text), cls)
        except ValueError:
            raise MalformedError(f"{VARIABLE} is no JSON") from None


def find_workers(channel: str, number: int) -> Iterator[int]:
    """Yield the processes of this user that are workers with this number, whichever first process has started them."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
            launch = Launch.of_process(dict(os.fsdecode(one).partition("=")[::2] for one in variables))
        except (OSError, MalformedError):  # it has ended, or is another user's
            continue
        if launch is not None and (launch.channel, launch.number) == (channel, number):
            yield int(directory.name)


def kill_hanging(number: int, pid: int, log: Logger) -> None:
    """Kill a worker that `find_workers` has found and that does not answer the processes that live."""
    log.error("worker {number} (pid {pid}) of the first process that died hangs: it is killed", number=number, pid=pid)
    with contextlib.suppress(OSError):  # it has ended meanwhile
        os.kill(pid, signal.SIGKILL)


def has_ended(process: int) -> bool:
    """Return whether the process behind a pidfd has ended, reaped or not: it is readable then (pidfd_open(2))."""
    polled = select.poll()  # select.select() knows only the first 1024 descriptors
    polled.register(process, select.POLLIN)
    return bool(polled.poll(0))


def own_command() -> tuple[str, ...]:
    """Return the command that started this process, as it has to be repeated."""
    return (sys.executable, *sys.orig_argv[1:])


def _python() -> tuple[str, ...]:
    """Return the command of Python. Without -P, `-m` would look for modules in the working directory first."""
    try:
        looks_there = os.getcwd() in sys.path
    except OSError:  # it has been removed
        looks_there = False
    return (sys.executable,) if looks_there else (sys.executable, "-P")


def start_worker(launch: Launch, environ: Mapping[str, str]) -> Process:
    """Start a worker. Raises OSError."""
    without_columns = "-X", "no_debug_ranges"  # of the source code, for each instruction: 0.4 MiB
    command = *_python(), *without_columns, "-m", "facaded", "worker", str(launch.number)
    return _start(command, evolve(launch, parent=os.getpid()), environ)


def start_first(launch: Launch, environ: Mapping[str, str]) -> Process:
    """Start a first process that takes over from one that has died. Raises OSError."""
    return _start(launch.command, evolve(launch, number=FIRST), environ)


def _start(command: Sequence[str], launch: Launch, environ: Mapping[str, str]) -> Process:
    inherited = {name: value for name, value in environ.items() if name not in NOT_INHERITED}
    for descriptor in launch.descriptors:
        os.fstat(descriptor)  # a closed one would only be missed there
    return subprocess.Popen(  # noqa: S603  # nosec B603  # see above
        command,
        stdin=subprocess.DEVNULL,
        env={**inherited, VARIABLE: json.dumps(to_message(launch))},
        pass_fds=launch.descriptors,
    )
