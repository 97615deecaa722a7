"""What the commands share: printing, and one run of the reactor.

Output that cannot be written never causes a traceback. An answer that cannot be printed raises OutputError; a problem
that cannot be printed still sets the exit status.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from facaded.admin.control_client import ControlError
from facaded.net.json_documents import to_json
from facaded.net.reactor import IFacadedReactor, installed
from facaded.net.text import legible
from facaded.preparation import prepare

T = TypeVar("T")


class OutputError(Exception):
    """Standard output cannot be written. The text is a sentence for the person who ran the command."""


class InterruptedRunError(ControlError):
    """A signal has ended the run of the reactor, such as that of Ctrl-C."""


class ClosedPipeError(OutputError):
    """The reader of standard output has closed it, as `head` does. This is reported only by the exit status."""


def show(text: str, end: str = "\n") -> None:
    """Print an answer for a person. Raises OutputError."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)
        raise ClosedPipeError("standard output is closed") from None
    except OSError as error:
        _discard(sys.stdout)
        raise OutputError(f"standard output cannot be written ({error.strerror}): send it elsewhere") from None


def show_foreign(text: str) -> None:
    """Print an answer with text that the daemon sent: it may contain anything. Raises OutputError."""
    show(legible(text))


def flush_problems() -> None:
    """Flush standard error, or discard its buffer: the interpreter would fail at its end, with another exit status."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def complain(sentence: str) -> None:
    """Print a problem on standard error."""
    with contextlib.suppress(OSError):
        print(f"facaded: {legible(sentence)}", file=sys.stderr)


def print_json(document: object) -> None:
    """Print an answer for a program. Raises OutputError."""
    show(json.dumps(to_json(document), indent=2))


def print_warnings(*warnings: str) -> None:
    """Print warnings of a command that worked. Raises OutputError."""
    for warning in warnings:
        show_foreign(f"warning: {warning}")


def has_colours(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether colours may be printed: on a terminal that has them, unless NO_COLOR is set (no-color.org)."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb" and stream.isatty()


def run(work: Callable[[IFacadedReactor], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Run a coroutine on the reactor, and return its result or raise its error. A process can do this once."""
    reactor = installed()
    results: list[T | Failure] = []
    prepare(reactor)

    def begin() -> None:
        Deferred.fromCoroutine(work(reactor)).addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not results:
        raise InterruptedRunError("interrupted")
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _discard(stream: TextIO) -> None:
    """Point a stream at /dev/null: the interpreter flushes it at its end, and would report the error again."""
    with Path(os.devnull).open("w") as null:
        os.dup2(null.fileno(), stream.fileno())
