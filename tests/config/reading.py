"""Settings that a test writes into a file and loads."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config.loading import Loaded, load
from facaded.config.settings_error import SettingsError

TWO = """
[[backend]]
name = "main"
url = "https://main.test"
[[backend]]
name = "second"
url = "https://second.test:5000/"
"""


def read(text: str, tmp_path: Path, environ: Mapping[str, str] | None = None) -> Loaded:
    path = tmp_path / "facaded.toml"
    path.write_text(text)
    return load(path, None, environ or {}, reactor)


def problems(text: str, tmp_path: Path, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The problems in a file, without its directory."""
    with pytest.raises(SettingsError) as caught:
        read(text, tmp_path, environ)
    return tuple(problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems)
