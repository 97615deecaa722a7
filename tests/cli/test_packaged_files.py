"""The commands that print files which come with the program."""

import tomllib
from pathlib import Path

import pytest

from facaded.cli.command_line import main
from facaded.cli.file_commands import INSTALLED, find_environment

ROOT = Path(__file__).parent.parent.parent


def test_the_example_is_the_settings_file_with_all_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example-config"]) == 0
    printed = capsys.readouterr().out
    assert printed == (ROOT / "conf" / "facaded.toml").read_text()
    tomllib.loads(printed)
    assert main(["example-config", "alerts.yml"]) == 0
    assert capsys.readouterr().out == (ROOT / "conf" / "alerts.yml").read_text()


def test_the_unit_runs_this_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unit"]) == 0
    unit = capsys.readouterr().out
    assert "ExecStart=/" in unit
    assert main(["unit", "facaded-https.socket"]) == 0
    assert "ListenStream=443" in capsys.readouterr().out


def test_the_unit_names_the_environment_of_the_program(tmp_path: Path) -> None:
    assert find_environment(str(tmp_path), "/usr") == INSTALLED, "there is no program in it"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "facaded").touch()
    assert find_environment(str(tmp_path), "/usr") == str(tmp_path)
    assert find_environment("/usr", "/usr") == INSTALLED


@pytest.mark.parametrize("environment", ["/home/me/venv", "/srv/my venv", "/srv/100%"])
def test_the_unit_runs_no_program_that_it_cannot_see_or_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    monkeypatch.setattr("facaded.cli.file_commands.find_environment", lambda *_: environment)
    assert main(["unit"]) == 0
    printed = capsys.readouterr()
    assert "ExecStart=/opt/facaded/bin/facaded serve" in printed.out
    assert f"the unit cannot run a program under {environment}: install it in /opt/facaded" in printed.err


def test_the_manual_lists_its_topics_and_prints_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["manual"]) == 0
    topics = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert topics.keys() == {path.stem for path in (ROOT / "facaded" / "manual").glob("*.md")}
    assert topics["logs"] == "The log"
    assert main(["manual", "logs"]) == 0
    assert capsys.readouterr().out == (ROOT / "facaded" / "manual" / "logs.md").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("manual", "log"), "the manual has no page log: choose from answers, "),
        (("manual", "../../README"), "the manual has no page ../../README: choose from answers, "),
        (("unit", "../pyproject.toml"), "there is no file called ../pyproject.toml: choose from facaded-http.socket, "),
        (("example-config", "odd"), "there is no file called odd: choose from "),
    ],
)
def test_a_name_that_is_not_there_is_a_usage_error_that_lists_the_others(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert main(list(words)) == 2
    assert sentence in capsys.readouterr().err
