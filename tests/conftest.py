"""What every test is held to."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

REQUIRE_ALL = "FACADED_REQUIRE_ALL"

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("process", "system")
"""The tests in such a folder carry the marker of the same name. No file has to set it, so no file can forget it."""

settings.register_profile("facaded", deadline=None)  # a busy machine is not a failure
settings.load_profile("facaded")


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        for folder in MARKED_FOLDERS:
            if TESTS / folder in item.path.parents:
                item.add_marker(folder)


@pytest.fixture(autouse=True)
def no_errors_are_logged() -> Iterator[list[LogEvent]]:
    """Fail a test in which an error was logged, an unhandled Deferred's included: pytest would not notice.

    A test that expects one asks for this fixture and takes it out of the list. An error in the fixtures of the test
    before, which are garbage only now, counts as well. All the rest is frozen: without it, each collection would go
    through everything that was imported and reported so far, and take longer than most tests.
    """
    errors: list[LogEvent] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            errors.append(event)

    globalLogPublisher.addObserver(observe)
    let_go_of_the_last_test()
    gc.collect()
    gc.freeze()
    yield errors
    gc.collect()
    globalLogPublisher.removeObserver(observe)
    assert [formatEvent(event) for event in errors] == []


def let_go_of_the_last_test() -> None:
    """Have the reactor call something: it keeps the last call, and so the arguments of the last test, until then."""
    done = Deferred[None]()
    reactor.callLater(0, done.callback, None)
    pytest_twisted.blockon(done)


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Call it with the programs that a test runs, `root=True` if only root can run them, and what else is lacking.

    Then the test is skipped with the reason; with FACADED_REQUIRE_ALL set it fails.
    """

    def check(*programs: str, root: bool = False, lacking: str = "") -> None:
        missing = [f"{program} is not installed" for program in programs if shutil.which(program) is None]
        if lacking:
            missing.append(lacking)
        if root and os.geteuid() != 0:
            missing.append("only root can run it")
        if not missing:
            return
        if os.environ.get(REQUIRE_ALL):
            pytest.fail(f"required by {REQUIRE_ALL}: {'; '.join(missing)}")
        pytest.skip("; ".join(missing))

    return check
