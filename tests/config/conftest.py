"""No settings of the machine that runs the tests are read."""

from pathlib import Path

import pytest

from facaded.config import paths


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "DEFAULT_FILE", tmp_path / "system.toml")
