"""The command line: which command an argument list runs, and the version."""

import io
import json

import pytest

from facaded import __version__
from facaded.cli.command_line import main


def test_the_version_is_an_option_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"facaded {__version__}\n"
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"facaded {__version__}\n"
    for words in (["version", "--json"], ["--version", "--json"]):
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out) == {"schema": 1, "version": __version__}


def test_the_help_documents_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "0 good, 1 the answer is bad news, 2 the command line or the settings cannot be used" in text
    assert "3 an address to listen on is in use" in text


def test_a_wrong_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--bogus"]) == 2
    assert "unrecognized arguments: --bogus" in capsys.readouterr().err


def test_what_the_terminal_cannot_show_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["manual", "operations"]) == 0
    assert b"facaded parity [IMAGE?]" in written.getvalue()
