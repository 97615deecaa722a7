"""A daemon behind a proxy: over the PROXY protocol, limits and log are about the clients."""

import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.process.daemon import WAIT, can_connect, free_port, wait_until
from tests.several_processes import with_workers, workers_of_tests

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ask(port: int, client: str) -> bytes:
    """Send a request as a proxy does for `client`, and return the first bytes of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as proxy:
        proxy.sendall(f"PROXY TCP4 {client} 127.0.0.1 40000 80\r\n".encode() + GET)
        try:
            return proxy.recv(12)
        except ConnectionResetError:
            return b""


def test_connections_over_the_proxy_protocol_are_those_of_the_clients(tmp_path: Path) -> None:
    port, settings, log = free_port(), tmp_path / "facaded.toml", tmp_path / "log"
    settings.write_text(
        with_workers(
            f'listen.http = "haproxy:tcp:{port}:interface=127.0.0.1"\nlisten.admin = []\n'
            f'state.directory = "{tmp_path}/state"\nlimits.new_connections_per_source = 1\n'
        )
    )
    arguments = [sys.executable, "-m", "facaded", "--config", str(settings)]
    with log.open("wb") as file, subprocess.Popen(arguments, stdout=file, stderr=file) as daemon:
        try:
            wait_until(lambda: can_connect(port), "it listens")
            answers = [ask(port, "192.0.2.7") for _ in range(20 * workers_of_tests())]  # each has the limit
            assert answers[:10] == [b"HTTP/1.1 200"] * 10
            assert answers[-1] == b""
            assert ask(port, "192.0.2.8") == b"HTTP/1.1 200"
            assert ask(port, "no address") == b""
        finally:
            daemon.terminate()
    assert re.search(r'^192\.0\.2\.8 - - \[.*\] "GET / HTTP/1\.\d" 200 ', log.read_text(), re.MULTILINE)
    assert log.read_text().count("limit reached: new_connections_per_source, by 192.0.2.7") == 1
    assert "Traceback" not in log.read_text()
