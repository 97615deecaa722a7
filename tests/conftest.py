"""Rules and fixtures for every test: markers by folder, no logged errors, and the programs a test needs."""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.one_process import ONE_PROCESS
from tests.several_processes import workers_of_tests

REQUIRE_ALL = "FACADED_REQUIRE_ALL"

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("process", "system")
"""Folders whose tests get the marker of the same name here, because a file could forget to set it."""

EXAMPLES = 100 if os.environ.get(REQUIRE_ALL) else 40
"""How many a property is tried with unless it says otherwise; CI has more time than a contributor."""

settings.register_profile("facaded", deadline=None, max_examples=EXAMPLES)  # a slow machine must not fail a test
settings.load_profile("facaded")


def pytest_configure() -> None:
    """Let SIGINT end the processes that tests start: a shell's background job ignores it, and so would they."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        for folder in MARKED_FOLDERS:
            if TESTS / folder in item.path.parents:
                item.add_marker(folder)
        path = item.path.relative_to(TESTS.parent).as_posix()
        reason = ONE_PROCESS.get(f"{path}::{getattr(item, 'originalname', item.name)}")
        if reason and workers_of_tests() > 1:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def no_errors_are_logged() -> Iterator[list[LogEvent]]:
    """Fail a test that logs an error. pytest notices no error in the log, such as that of an unhandled Deferred.

    A test that expects errors uses this fixture and removes them from its list. Fixtures of the previous test become
    garbage only now, so their errors count too. gc.freeze() keeps older objects out of each collection, which would
    otherwise take longer than most tests.
    """
    errors: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    release_previous_test()
    gc.collect()
    gc.freeze()
    yield errors
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert [formatEvent(event) for event in errors] == []


def release_previous_test() -> None:
    """Make the reactor run a call: until then it refers to its last call, and so to the previous test's arguments."""
    called = Deferred[None]()
    reactor.callLater(0, called.callback, None)
    pytest_twisted.blockon(called)


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Return a function that skips the test if a program or right that it needs is missing.

    Its arguments are the programs, `root=True` if the test needs root, and `unmet`, a sentence about another
    requirement that is not met. With FACADED_REQUIRE_ALL set, the test fails instead.
    """

    def check(*programs: str, root: bool = False, unmet: str = "") -> None:
        missing = [f"{program} is not installed" for program in programs if shutil.which(program) is None]
        if unmet:
            missing.append(unmet)
        if root and os.geteuid() != 0:
            missing.append("run it as root")
        if not missing:
            return
        if os.environ.get(REQUIRE_ALL):
            pytest.fail(f"required by {REQUIRE_ALL}: {'; '.join(missing)}")
        pytest.skip("; ".join(missing))

    return check
