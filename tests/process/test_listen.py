"""The address families of `:PORT`: IPv6 and IPv4, or only IPv4 on a machine without IPv6."""

import contextlib
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.daemon import can_connect, free_port, wait_until
from tests.several_processes import with_workers

WITHOUT_IPV6 = [sys.executable, str(Path(__file__).with_name("without_ipv6.py"))]


@contextlib.contextmanager
def listening(tmp_path: Path, port: int, wrapper: list[str]) -> Iterator[None]:
    """Run a daemon whose plain port is `:PORT`."""
    settings = tmp_path / "facaded.toml"
    settings.write_text(
        with_workers(f'listen.http = ":{port}"\nlisten.admin = []\nstate.directory = "{tmp_path}/state"\n')
    )
    arguments = [*wrapper, sys.executable, "-m", "facaded", "--config", str(settings)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(arguments, stdout=log, stderr=log) as daemon:
        try:
            wait_until(lambda: can_connect(port) or daemon.poll() is not None, "it listens")
            yield
        finally:
            daemon.terminate()


def can_connect_over_ipv6(port: int) -> bool:
    try:
        socket.create_connection(("::1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_a_port_is_opened_for_both_families(tmp_path: Path) -> None:
    port = free_port()
    with listening(tmp_path, port, []):
        assert can_connect(port)
        assert can_connect_over_ipv6(port)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter is written for x86-64")
def test_without_ipv6_it_is_opened_for_ipv4(tmp_path: Path) -> None:
    port = free_port()
    with listening(tmp_path, port, WITHOUT_IPV6):
        assert can_connect(port), (tmp_path / "log").read_text()
        assert not can_connect_over_ipv6(port)
