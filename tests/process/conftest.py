"""Fixtures: two registries that fail on demand, and a daemon with both as backends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import FAST, Daemon, Registry, running


@pytest.fixture
def main() -> Registry:
    return Registry("127.0.0.2").start()


@pytest.fixture
def second() -> Registry:
    return Registry("127.0.0.3").start()


@pytest.fixture
def daemon(tmp_path: Path, main: Registry, second: Registry) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path, FAST.format(main=main, second=second))
    with running(daemon, main, second):
        yield daemon
        assert "Traceback" not in daemon.log
        assert "Unhandled" not in daemon.log


@pytest.fixture
def with_canary(daemon: Daemon) -> Daemon:
    """A daemon whose probes fetch a canary."""
    daemon.settings = daemon.settings.replace("fall = 2", 'fall = 2\ncanary = "org/app"\ndeep_interval = "1h"')
    return daemon.start()
