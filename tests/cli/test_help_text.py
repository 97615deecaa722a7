"""The help: every command by its purpose, with examples, in 80 columns."""

import re

import pytest

from facaded.cli import help_text
from facaded.cli.command_line import main


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def commands(overview: str) -> list[str]:
    return re.findall(r"^  ([a-z-]+) +\S", overview.partition("First steps:")[0], re.MULTILINE)


def test_every_command_is_listed_once_and_has_help_and_examples_in_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    overview = printed(capsys, "--help")
    assert overview == printed(capsys, "help")
    names = commands(overview)
    assert len(names) == len(set(names))
    assert {"serve", "status", "failback", "client-config", "manual"} <= set(names)
    assert "More:" not in overview, "every command has a purpose"
    for page in (overview, *(printed(capsys, "help", name) for name in names)):
        assert max(map(len, page.splitlines())) <= 80, page
    for name in set(names) - {"reload", "version"}:
        assert f"  facaded {name}" in printed(capsys, name, "--help"), f"{name} has an example"


def test_the_examples_are_valid_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for name, examples in help_text.EXAMPLES.items():
        for example in examples:
            words = re.split(r" [|>&]", example)[0].replace("'", "").split()
            assert words[:2] == ["facaded", name] or name == "serve", example
    assert main(["pin", "--reason"]) == 2
    assert "expected one argument" in capsys.readouterr().err


def test_a_command_without_a_purpose_is_not_forgotten() -> None:
    assert "More:\n  odd             do something" in help_text.overview({"odd": "do something"})
