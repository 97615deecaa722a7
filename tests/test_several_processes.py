"""How tests run daemons with several processes: the settings that they add, and the tests that are left out."""

import ast
import os
import tomllib
from pathlib import Path

import pytest

from tests.one_process import ONE_PROCESS
from tests.several_processes import VARIABLE, living, with_workers

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ONE_PROCESS)
def test_a_test_that_is_left_out_exists(name: str) -> None:
    path, _, function = name.partition("::")
    assert function in {getattr(node, "name", None) for node in ast.walk(ast.parse((ROOT / path).read_text()))}


@pytest.mark.parametrize(
    "settings", ["", "hosts = ['a']", "hosts = ['a']\n[health]\nrise = 1", "\n  [health]\n  rise = 1", "[[backend]]\n"]
)
def test_the_number_of_processes_is_added_to_settings(monkeypatch: pytest.MonkeyPatch, settings: str) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    added = with_workers(settings)
    assert tomllib.loads(added) == {**tomllib.loads(settings), "workers": 2}
    assert with_workers(added) == added


def test_lines_before_the_first_table_keep_their_numbers_because_messages_name_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    assert with_workers("bogus = 1\nhosts = 5").startswith("bogus = 1\nhosts = 5\n")
    assert with_workers("bogus = 1\nhosts = ['a']\n[health]\n").startswith("bogus = 1\nhosts = ['a']")


@pytest.mark.parametrize("value", ["", "1"])
def test_settings_stay_as_they_are_without_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert with_workers("rise = 1") == "rise = 1"


def test_the_living_processes_of_a_group_are_found() -> None:
    assert os.getpid() in living(os.getpgid(0))
    assert living(2**22 + 1) == [], "beyond the largest pid"
