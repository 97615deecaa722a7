"""The manual's page about statistics: its numbers are those of the code."""

from pathlib import Path

import pytest

from facaded.config.sections import HistorySettings
from facaded.history.history_file import NAME, ROWS_PER_DAY, UNPROVEN_PER_DAY, VERSION
from facaded.history.history_store import RETRY
from facaded.history.queries import MOST_CHANGES_READ, MOST_ROWS_READ
from facaded.history.recorder import INTERVAL
from facaded.history.retention import DOUBT
from facaded.policy.pull_kinds import CHECKERS

PAGE = (Path(__file__).parent.parent / "facaded" / "manual" / "statistics.md").read_text()

TEXT = " ".join(PAGE.split())


@pytest.mark.parametrize(
    "words",
    [
        f"rows for {ROWS_PER_DAY:,} different combinations of name, client and kind, {UNPROVEN_PER_DAY} of them",
        f"`history.days` ({HistorySettings().days})",
        f"`history.size` ({HistorySettings().size >> 20} MiB)",
        f"the version of the file, now {VERSION}.",
        f"more than {MOST_CHANGES_READ:,} changes",
        f"of {MOST_ROWS_READ} rows at most",
        f"tries again every {RETRY / 60:.0f} minutes",
        f"the file `{NAME}`",
    ],
)
def test_its_numbers_are_those_of_the_code(words: str) -> None:
    assert words in TEXT


def test_it_names_the_interval_and_every_update_checker() -> None:
    assert INTERVAL == 10
    assert "every ten seconds" in TEXT
    assert DOUBT == 3600
    assert "nothing is deleted because of its time for an hour" in TEXT
    for family in CHECKERS:
        assert family.value in PAGE.lower()
