"""One run of the operator's command: bounded in time and output, and ended with everything that it started.

The command's standard input is an anonymous file, so nothing has to be written while it runs, whether it reads or not.
Its standard error is a pipe that is read from time to time, so a flood of output has to wait.

This is `subprocess` and not Twisted's `spawnProcess`, which looks at each descriptor of this process first: with 19,000
connections that takes 0.1 s, in which nobody is answered. It cannot give the command a process group either.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOK_PAUSE = 0.05
"""Seconds between two looks at a command: whether it has exited, and what it has written."""

READ_SIZE = 64 << 10
"""Bytes of standard error that are read in one look: as many as wait in a pipe."""

OUTPUT_SIZE = 4096
"""Bytes of standard error that a warning quotes."""


@frozen
class RunLimits:
    """Seconds that a run may take, enough for some attempts to reach a slow server, and from SIGTERM to SIGKILL."""

    timeout: float = 30.0
    kill_delay: float = 5.0


@frozen
class RunResult:
    """How a run ended. `problem` is empty if it exited with status 0; `output` is the beginning of its standard error.

    `output` is on one line, in printable characters.
    """

    problem: str = ""
    output: str = ""


class CommandRun:
    """Runs `command` once, with the environment `environ`."""

    def __init__(
        self,
        clock: IReactorTime,
        command: Sequence[str],
        environ: Mapping[str, str],
        limits: RunLimits = RunLimits(),
    ) -> None:
        self._clock = clock
        self._command = command
        self._environ = environ
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._problem = ""
        self._errors = -1
        self._output = b""
        self._deadline: IDelayedCall | None = None
        self._ended: Deferred[RunResult] = Deferred()

    def start(self, document: bytes) -> Deferred[RunResult]:
        """Start the command with `document` on its standard input; the result comes when it has ended. Never fails."""
        try:
            self._process = self._spawn(document)
        except OSError as error:
            self._end(f"it cannot be started ({error.strerror})")
        else:
            timeout = self._limits.timeout
            self._set_deadline(timeout, self._terminate, f"it was ended, because it ran for {timeout:g} s")
            self._look()
        return self._ended

    def stop(self, grace: float) -> Deferred[None]:
        """Kill the command if it does not end within `grace` seconds. The Deferred fires when it has ended."""
        stopped: Deferred[None] = Deferred()
        self._ended.addCallback(lambda _: stopped.callback(None))
        if self._process is not None:
            self._set_deadline(grace, self._kill, f"it was killed, because it ran for {grace:g} s after facaded's stop")
        return stopped

    def _spawn(self, document: bytes) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own. Raises OSError."""
        with ExitStack() as opened:
            standard_input = os.memfd_create("notification")
            opened.callback(os.close, standard_input)
            os.pwrite(standard_input, document, 0)
            self._errors, writing_end = os.pipe()
            opened.callback(os.close, writing_end)
            os.set_blocking(self._errors, False)
            return subprocess.Popen(  # noqa: S603  # the operator's settings name the command
                self._command,
                stdin=standard_input,
                stdout=subprocess.DEVNULL,
                stderr=writing_end,
                env=self._environ,
                start_new_session=True,
            )

    def _look(self) -> None:
        """Read what the command has written, and end the run if it has exited."""
        process = self._process
        assert process is not None
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            self._read_output()
            self._clock.callLater(LOOK_PAUSE, self._look)
            return
        self._signal(signal.SIGKILL)  # what it has left behind; its number is in use until `wait`
        self._process = None
        self._end(self._problem or _describe(process.wait()))

    def _end(self, problem: str) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if self._errors >= 0:
            self._read_output()
            os.close(self._errors)
        self._ended.callback(RunResult(problem, _on_one_line(self._output)))

    def _read_output(self) -> None:
        with suppress(BlockingIOError):
            self._output += os.read(self._errors, READ_SIZE)[: OUTPUT_SIZE - len(self._output)]

    def _set_deadline(self, seconds: float, action: Callable[[str], None], problem: str) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = self._clock.callLater(seconds, action, problem)

    def _terminate(self, problem: str) -> None:
        self._problem = problem
        self._signal(signal.SIGTERM)
        self._set_deadline(self._limits.kill_delay, self._kill, problem)

    def _kill(self, problem: str) -> None:
        self._problem = problem
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the command's group."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):  # one of them may have become another user
                os.killpg(self._process.pid, number)


def _describe(status: int) -> str:
    """Return how a process ended; empty if it exited with status 0. A signal is a negative status."""
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it exited with status {status}" if status else ""


def _on_one_line(output: bytes) -> str:
    words = " ".join(output.decode("utf-8", "replace").split())
    return "".join(character if character.isprintable() else "?" for character in words)
