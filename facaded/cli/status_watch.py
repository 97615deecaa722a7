"""`facaded status --watch`: the status again and again, in place on a terminal, one after the other elsewhere."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TextIO

from attrs import frozen
from twisted.internet.task import deferLater

from facaded.admin import control_client
from facaded.admin.control import CommandRefusedError
from facaded.admin.control_client import ControlError
from facaded.admin.status import Status
from facaded.admin.status_text import WIDTH, Appearance, text
from facaded.cli.terminal import InterruptedRunError, has_colours, run, show
from facaded.exit_status import GOOD
from facaded.net.json_documents import to_json
from facaded.net.reactor import IFacadedReactor
from facaded.net.text import printable

INTERVAL = 2.0
"""Seconds between two requests for the status."""

BEGIN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""Begins the display: the alternate screen, no cursor, and no wrapping of lines that are too long (xterm, ECMA-48)."""

END = "\x1b[?7h\x1b[?25h\x1b[?1049l"
"""Ends what `BEGIN` has begun."""

HOME, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
"""Moves the cursor to the top left corner, and erases from the cursor on."""


class Display(Protocol):
    """Shows one status after the other."""

    def show(self, status: Status, problem: str) -> None:
        """Show a status; with a `problem`, it is the last one that the daemon has answered, and this is why."""

    def end(self) -> None:
        """Leave the terminal as it was."""


@frozen
class JsonLines:
    """Prints each status as JSON on a line of its own."""

    def show(self, status: Status, problem: str) -> None:
        if not problem:
            show(json.dumps(to_json(status)))

    def end(self) -> None:
        """Nothing was begun."""


@frozen
class Printout:
    """Prints each status below the last one, after the time; for pipes, and for terminals without a cursor."""

    def show(self, status: Status, problem: str) -> None:
        now = time.time()
        show(f"{_heading(now, problem)}\n{text(status, Appearance(now))}\n")

    def end(self) -> None:
        """Nothing was begun."""


class Screen:
    """Shows the status in place on a terminal, as much of it as fits."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._has_colours = has_colours(stream, environ)
        self._has_begun = False
        self._last = ""

    def show(self, status: Status, problem: str) -> None:
        size, now = shutil.get_terminal_size((WIDTH, 24)), time.time()
        appearance = Appearance(now, size.columns, self._has_colours)
        self._last = text(status, appearance)
        lines = fit([_heading(now, problem), *self._last.split("\n")], size.lines)
        begin = "" if self._has_begun else BEGIN
        self._has_begun = True
        shown = "".join([begin, HOME, f"{REST_OF_LINE}\n".join(lines), REST_OF_LINE, REST_OF_SCREEN])
        show(shown, end="")

    def suspend(self) -> None:
        """Return to the ordinary screen and stop, as Ctrl-Z demands. When the process continues, all begins anew."""
        if self._has_begun:
            self._has_begun = False
            os.write(sys.stdout.fileno(), END.encode())  # `print` must not be called while it writes
        os.kill(os.getpid(), signal.SIGSTOP)

    def end(self) -> None:
        """Return to the ordinary screen, and leave the last status there."""
        if self._has_begun:
            show(f"{END}{self._last}")


def watch_status(socket: Path, *, is_json: bool) -> int:
    """Show the status of the daemon behind `socket` until a signal ends it, which is no error.

    Raises ControlError if the daemon does not answer the first time; later it may be restarting.
    """
    display = choose_display(sys.stdout, os.environ, is_json=is_json)
    if isinstance(display, Screen):
        signal.signal(signal.SIGTSTP, lambda *_: display.suspend())
    try:
        run(lambda reactor: _watch(reactor, socket, display))
    except InterruptedRunError:
        pass
    finally:
        display.end()
    return GOOD


def fit(lines: list[str], height: int) -> list[str]:
    """Return as many of the lines as fit, at least one; the last one then says how many are missing."""
    if len(lines) <= height:
        return lines
    shown = max(height - 1, 1)
    return [*lines[:shown], f"... {len(lines) - shown} more lines"][: max(height, 1)]


def choose_display(stream: TextIO, environ: Mapping[str, str], *, is_json: bool) -> Display:
    """Return the display for standard output."""
    if is_json:
        return JsonLines()
    return Screen(stream, environ) if stream.isatty() and environ.get("TERM", "dumb") != "dumb" else Printout()


async def _watch(reactor: IFacadedReactor, socket: Path, display: Display) -> None:
    status, problem = await control_client.ask(reactor, socket, "GET", "/status", Status), ""
    while True:
        display.show(status, problem)
        await deferLater(reactor, INTERVAL)
        try:
            status, problem = await control_client.ask(reactor, socket, "GET", "/status", Status), ""
        except (ControlError, CommandRefusedError) as error:
            problem = str(error)


def _heading(now: float, problem: str) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    problem = printable(problem)
    return f"{at}: no answer, this is the last one: {problem}" if problem else f"{at}, every {INTERVAL:g} s"
