"""The command line: which command an argument list runs, and the version."""

import json

import pytest

from facaded import __version__
from facaded.cli.command_line import main


def test_the_version_is_an_option_and_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"facaded {__version__}\n"
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"facaded {__version__}\n"
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "version": __version__}
