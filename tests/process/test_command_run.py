"""Runs of real commands: each ends in bounded time, whatever the command does, and leaves no process behind."""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from facaded.command_run import OUTPUT_SIZE, CommandRun, RunLimits, RunResult

ENVIRON = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

REACTOR: Any = reactor

SOON = 10.0
"""Seconds after which a run that should have ended makes the test fail."""


LONG, SHORT = RunLimits(), RunLimits(timeout=0.5, kill_delay=0.5)


def start(*command: str, document: bytes = b"{}", limits: RunLimits = LONG) -> tuple[CommandRun, Deferred[RunResult]]:
    run = CommandRun(REACTOR, command, ENVIRON, limits)
    return run, run.start(document).addTimeout(SOON, REACTOR)


def shell(script: str, document: bytes = b"{}", limits: RunLimits = LONG) -> tuple[CommandRun, Deferred[RunResult]]:
    return start("/bin/sh", "-c", script, document=document, limits=limits)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return b" Z " not in Path(f"/proc/{pid}/stat").read_bytes()


async def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        await deferLater(REACTOR, 0.02)


async def read_pid(path: Path) -> int:
    """Return the number that a command writes to a file."""

    def read() -> str:
        return path.read_text() if path.exists() else ""

    await wait_until(lambda: read().endswith("\n"))
    return int(read())


@pytest_twisted.ensureDeferred
async def test_the_command_gets_the_document_and_nothing_else(tmp_path: Path) -> None:
    script = "cat >document; env >environ; ls /proc/self/fd >files; pwd"
    document = json.dumps({"text": "x" * 300_000}).encode()
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        _, ended = shell(f"cd {tmp_path} && {script}", document)
        assert await ended == RunResult()
    finally:
        os.close(held)
    assert (tmp_path / "document").read_bytes() == document
    environ = dict(line.split("=", 1) for line in (tmp_path / "environ").read_text().splitlines())
    assert environ.keys() - {"PWD", "OLDPWD", "SHLVL", "_"} == {"PATH", "LANG"}
    assert (tmp_path / "files").read_text().split() == ["0", "1", "2", "3"], "3 is the one that ls reads"


@pytest_twisted.ensureDeferred
async def test_a_program_is_found_in_path_and_its_arguments_are_not_expanded(tmp_path: Path) -> None:
    _, ended = start("tee", str(tmp_path / "$HOME *"), document=b"x")
    assert await ended == RunResult()
    assert (tmp_path / "$HOME *").read_bytes() == b"x"


@pytest_twisted.ensureDeferred
async def test_signals_that_python_ignores_end_the_command_as_usual() -> None:
    _, ended = shell("kill -PIPE $$; exit 7")
    assert await ended == RunResult("it was ended by SIGPIPE")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("command", "result"),
    [
        (("/bin/sh", "-c", "exit 1"), RunResult("it exited with status 1")),
        (("/bin/sh", "-c", "echo one >&2; echo two >&2; exit 7"), RunResult("it exited with status 7", "one two")),
        (
            ("/bin/sh", "-c", "printf 'a\\033[2Jb\\377' >&2; exit 1"),
            RunResult("it exited with status 1", "a?[2Jb\ufffd"),
        ),
        (("/bin/sh", "-c", "kill -9 $$"), RunResult("it was ended by SIGKILL")),
        (("/nonexistent",), RunResult("it cannot be started (No such file or directory)")),
        (("nonexistent",), RunResult("it cannot be started (No such file or directory)")),
        (("/dev/null",), RunResult("it cannot be started (Permission denied)")),
    ],
)
async def test_a_command_that_fails_is_explained(command: tuple[str, ...], result: RunResult) -> None:
    _, ended = start(*command)
    assert await ended == result


@pytest_twisted.ensureDeferred
async def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    _, ended = shell(f"echo $$ >{tmp_path}/pid; exec sleep 1000", limits=SHORT)
    pid = await read_pid(tmp_path / "pid")
    assert await ended == RunResult("it was ended, because it ran for 0.5 s")
    assert not is_alive(pid)


@pytest_twisted.ensureDeferred
async def test_a_command_that_ignores_sigterm_is_killed_with_what_it_started(tmp_path: Path) -> None:
    _, ended = shell(f"trap '' TERM; sleep 1000 & echo $! >{tmp_path}/pid; while :; do sleep 0.1; done", limits=SHORT)
    pid = await read_pid(tmp_path / "pid")
    begun = time.monotonic()
    assert await ended == RunResult("it was ended, because it ran for 0.5 s")
    assert time.monotonic() - begun < 2
    await wait_until(lambda: not is_alive(pid))


@pytest_twisted.ensureDeferred
async def test_a_child_that_keeps_the_pipes_open_keeps_nobody_waiting(tmp_path: Path) -> None:
    begun = time.monotonic()
    _, ended = shell(f"sleep 1000 & echo $! >{tmp_path}/pid; echo started >&2; exit 3", document=b"x" * 200_000)
    assert await ended == RunResult("it exited with status 3", "started")
    assert time.monotonic() - begun < 5
    pid = int((tmp_path / "pid").read_text())
    await wait_until(lambda: not is_alive(pid))


@pytest_twisted.ensureDeferred
async def test_a_child_in_a_session_of_its_own_keeps_nobody_waiting_either(tmp_path: Path) -> None:
    daemonize = f"import os,time; os.setsid(); open('{tmp_path}/pid','w').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    _, ended = shell(f'{sys.executable} -c "{daemonize}" & while ! [ -s {tmp_path}/pid ]; do sleep 0.05; done')
    try:
        assert await ended == RunResult()
    finally:
        os.kill(await read_pid(tmp_path / "pid"), signal.SIGKILL)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("stream", ["1", "2"])
async def test_a_flood_of_output_is_bounded_and_takes_little_of_this_process(stream: str) -> None:
    used = time.process_time()
    _, ended = shell(f"yes 'a line of output' >&{stream}", limits=SHORT)
    result = await ended
    assert result.problem == "it was ended, because it ran for 0.5 s"
    assert len(result.output) <= OUTPUT_SIZE
    assert result.output.startswith("a line of output") is (stream == "2")
    assert time.process_time() - used < 0.2


@pytest_twisted.ensureDeferred
async def test_a_command_that_writes_much_is_not_hindered(tmp_path: Path) -> None:
    _, ended = shell(f"head -c 300000 /dev/zero | tr '\\0' x >&2 && echo done >{tmp_path}/done; exit 1")
    assert (await ended).output == "x" * OUTPUT_SIZE
    assert (tmp_path / "done").exists()


@pytest_twisted.ensureDeferred
async def test_a_stop_lets_a_command_end_by_itself() -> None:
    run, ended = shell("sleep 0.3; exit 4")
    await run.stop(5.0).addTimeout(SOON, REACTOR)
    assert await ended is not None


@pytest_twisted.ensureDeferred
async def test_a_stop_kills_a_command_that_goes_on(tmp_path: Path) -> None:
    run, ended = shell(f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 0.1; done")
    pid = await read_pid(tmp_path / "pid")
    await run.stop(0.2).addTimeout(SOON, REACTOR)
    assert not is_alive(pid)
    assert await ended == RunResult("it was killed, because it ran for 0.2 s after facaded's stop")


@pytest_twisted.ensureDeferred
async def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        assert await shell("true")[1] == RunResult()
    assert os.listdir("/proc/self/fd") == before


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("free", [0, 1, 3])
async def test_a_lack_of_descriptors_is_explained(free: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = os.listdir("/proc/self/fd")
    unused = [number for number in range(soft) if str(number) not in before]
    resource.setrlimit(resource.RLIMIT_NOFILE, (unused[free], hard))
    try:
        _, ended = shell("true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert await ended == RunResult("it cannot be started (Too many open files)")
    assert os.listdir("/proc/self/fd") == before
