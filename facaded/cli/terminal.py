"""What the commands share: exit statuses, what they print, and one run of the reactor."""

import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from facaded.admin.control_client import ControlError
from facaded.net.json_documents import to_json
from facaded.net.reactor import IFacadedReactor, installed
from facaded.service import prepare

GOOD, BAD_NEWS, USAGE = 0, 1, 2
"""Exit statuses: the answer is good, the answer is bad news, the command line or the settings cannot be used."""

T = TypeVar("T")


def complain(sentence: str) -> None:
    """Print a problem."""
    print(f"facaded: {sentence}", file=sys.stderr)


def print_json(document: object) -> None:
    """Print a document for a program."""
    print(json.dumps(to_json(document), indent=2))


def print_warnings(*warnings: str) -> None:
    """Print what a person should know although the command has worked."""
    for warning in warnings:
        print(f"warning: {warning}")


def run(work: Callable[[IFacadedReactor], Coroutine[Deferred[Any], Any, T]]) -> T:
    """Run a coroutine on the reactor, and return its result or raise its error. A process can do this once."""
    reactor = installed()
    outcome: list[T | Failure] = []
    prepare(reactor)

    def begin() -> None:
        Deferred.fromCoroutine(work(reactor)).addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome:
        raise ControlError("interrupted")
    result = outcome[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result
