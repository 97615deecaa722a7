"""The client under test, and what it logs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.log_lines import log_lines
from tests.tls.acme.memory import AcmeHarness, CreateHarness


@pytest.fixture
def log() -> Iterator[list[str]]:
    with log_lines() as lines:
        yield lines


@pytest.fixture
def create(tmp_path: Path, log: list[str]) -> Iterator[CreateHarness]:
    """Create clients; afterwards check that no challenge is left and that no secret is in the log."""
    harnesses: list[AcmeHarness] = []

    def start(*names: str, **settings: Any) -> AcmeHarness:
        harnesses.append(AcmeHarness.create(tmp_path, *names, **settings))
        return harnesses[-1]

    yield start
    for harness in harnesses:
        harness.acme.stopService()
        assert (harness.responder.http, harness.responder.alpn) == ({}, {})
        for path in harness.directory.rglob("*.pem*"):
            secrets = path.read_text().split("-----END PRIVATE")[0].splitlines()[1:]
            assert not [line for line in log for secret in secrets if secret in line]
    assert all(line.isprintable() for line in log if "Traceback" not in line)
