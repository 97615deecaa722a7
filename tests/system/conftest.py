"""What the system tests need of the machine.

Where it is missing they skip and say so; with FACADED_REQUIRE_ALL set they fail.
"""

import os
import shutil
from collections.abc import Callable

import pytest

REQUIRE_ALL = "FACADED_REQUIRE_ALL"


TABLE: list[tuple[str, ...]] = []
"""Rows that are printed when all tests have run: client, answer, situation, seconds, backend."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE:
        terminalreporter.section("pulls")
        for row in sorted(TABLE):
            terminalreporter.write_line("  ".join(cell.ljust(22) for cell in row))


@pytest.fixture(scope="session")
def needs() -> Callable[..., None]:
    """Call it with the programs that a test runs, and `root=True` if only root can run them."""

    def check(*programs: str, root: bool = False) -> None:
        missing = [f"{program} is not installed" for program in programs if shutil.which(program) is None]
        if root and os.geteuid() != 0:
            missing.append("only root can run it")
        if not missing:
            return
        if os.environ.get(REQUIRE_ALL):
            pytest.fail(f"required by {REQUIRE_ALL}: {'; '.join(missing)}")
        pytest.skip("; ".join(missing))

    return check
