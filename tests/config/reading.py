"""Settings that a test writes into a file and reads."""

from pathlib import Path

import pytest
from twisted.internet import reactor

from facaded.config import Loaded, SettingsError, load

TWO = """
[[backend]]
name = "main"
url = "https://main.test"
[[backend]]
name = "second"
url = "https://second.test:5000/"
"""


def read(text: str, tmp_path: Path) -> Loaded:
    path = tmp_path / "facaded.toml"
    path.write_text(text)
    return load(path, None, {}, reactor)


def problems(text: str, tmp_path: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(text, tmp_path)
    return caught.value.problems
