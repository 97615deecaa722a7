"""Commands whose output cannot be written end with a status and without a traceback."""

import os
import signal
import subprocess
import sys
from typing import IO

import pytest

from tests.process.daemon import WAIT, Daemon

FULL = "facaded: standard output cannot be written (No space left on device): send it elsewhere\n"


def run(
    *words: str,
    stdout: int | IO[str] = subprocess.DEVNULL,
    stderr: int | IO[str] = subprocess.PIPE,
    buffered: bool = True,
) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-m", "facaded", *words],
        stdout=stdout,
        stderr=stderr,
        env=environ if buffered else environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        timeout=WAIT,
        check=False,
    )


def closed_pipe() -> int:
    """Return the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


ANSWERS = [("--help",), ("check", "--help"), ("--version",), ("version", "--json"), ("check", "--org", "example")]


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_a_full_device_is_one_sentence_and_exit_status_1(words: tuple[str, ...], buffered: bool) -> None:
    with open("/dev/full", "w") as full:
        ended = run(*words, stdout=full, buffered=buffered)
    assert (ended.returncode, ended.stderr) == (1, FULL)


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("words", ANSWERS, ids=" ".join)
def test_a_closed_pipe_ends_it_quietly(words: tuple[str, ...], buffered: bool) -> None:
    writing = closed_pipe()
    ended = run(*words, stdout=writing, buffered=buffered)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("words", [("bogus",), ("check", "--config", "/nonexistent")], ids=" ".join)
def test_unwritable_standard_error_does_not_change_the_exit_status(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        assert run(*words, stderr=full).returncode == 2
    writing = closed_pipe()
    assert run(*words, stderr=writing).returncode == 2
    os.close(writing)


def test_without_standard_streams_it_ends_with_the_usual_status() -> None:
    for words, status in ((("version",), 0), (("bogus",), 2)):
        command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "facaded", *words]
        assert subprocess.run(command, timeout=WAIT, check=False).returncode == status


def test_commands_that_ask_a_daemon_end_in_the_same_way(daemon: Daemon) -> None:
    daemon.start()
    for words in (("status",), ("explain", "org/app"), ("pin", "main"), ("status", "--json")):
        command, *more = words
        with open("/dev/full", "w") as full:
            ended = run(command, "--config", str(daemon.config), *more, stdout=full)
        assert (ended.returncode, ended.stderr) == (1, FULL), words
        writing = closed_pipe()
        ended = run(command, "--config", str(daemon.config), *more, stdout=writing)
        os.close(writing)
        assert (ended.returncode, ended.stderr) == (141, ""), words


def test_a_daemon_that_cannot_write_its_log_keeps_running(daemon: Daemon) -> None:
    daemon.arguments = ["sh", "-c", 'exec "$0" "$@" 2>/dev/full', *daemon.arguments]
    daemon.start()
    assert daemon.backend == "main"
    assert daemon.stop() == 0
