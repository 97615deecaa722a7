"""Many renewals at difficult CAs, during which no handshake may fail."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from facaded.tls.acme.settings import CertificateAuthority
from tests.process.daemon import Daemon, Registry, free_port, running, wait_until
from tests.process.handshakes import NAME
from tests.system.kills import Kills
from tests.system.pebble import Pebble
from tests.system.renewing import Handshakes, renew, start_verified, write_settings

HOST, CA_HOST, MAIN_HOST = "127.8.0.1", "127.8.0.2", "127.8.0.3"

RENEWALS = int(os.environ.get("FACADED_TEST_RENEWALS", "5"))
"""Renewals of each test; 20 by hand, which take three minutes."""

DIFFICULT = {
    "PEBBLE_WFE_NONCEREJECT": "60",
    "PEBBLE_AUTHZREUSE": "0",
    "PEBBLE_ALTERNATE_ROOTS": "2",
    "PEBBLE_VA_NOSLEEP": "0",
    "PEBBLE_VA_SLEEPTIME": "2",
}
"""pebble refuses 60 % of the nonces, reuses no authorization, offers other chains, and validates after a while."""

CADDYFILE = """{{
    admin off
    skip_install_trust
    auto_https disable_redirects
    storage file_system {directory}
}}
https://{host}:{port} {{
    tls internal
    acme_server
}}
"""

WITH_NAME = 'echo "{host} {name}" >{directory}/hosts && mount --bind {directory}/hosts /etc/hosts && exec "$@"'
"""Commands that run a program with its own /etc/hosts: Caddy looks names up there."""


@define
class Caddy:
    """Caddy as an ACME CA at `host`, which validates on the ports 80 and 443 of the daemon at `target`."""

    directory: Path
    host: str
    target: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def root(self) -> Path:
        return self.directory / "pki" / "authorities" / "local" / "root.crt"

    @property
    def authority(self) -> CertificateAuthority:
        return CertificateAuthority(f"https://{self.host}:{self.port}/acme/local/directory", ca_file=self.root)

    def start(self) -> None:
        self.directory.mkdir()
        config = self.directory / "Caddyfile"
        config.write_text(CADDYFILE.format(directory=self.directory, host=self.host, port=self.port))
        script = WITH_NAME.format(host=self.target, name=NAME, directory=self.directory)
        caddy = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", script, "bash", *caddy], stdout=log, stderr=log
            )
        wait_until(self.root.exists, "Caddy's root")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def main() -> Iterator[Registry]:
    registry = Registry(MAIN_HOST).start()
    yield registry
    registry.stop()


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: that of a control socket has 107 characters at most."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def renew_all_the_time(daemon: Daemon, root: bytes) -> set[int]:
    """Renew the certificate of a started daemon, and return the serial numbers; no handshake may fail meanwhile."""
    handshakes = Handshakes(daemon, root)
    handshakes.start()
    serials = {renew(daemon) for _ in range(RENEWALS)}
    handshakes.finish()
    assert handshakes.failures == []
    assert handshakes.count > RENEWALS
    return serials


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_renewals_at_a_difficult_pebble_without_a_failed_handshake(
    needs: Callable[..., None], directory: Path, main: Registry, challenge: str
) -> None:
    needs("pebble", "pebble-challtestsrv")
    daemon = Daemon(directory, "", HOST, port=free_port(HOST), https=free_port(HOST))
    pebble = Pebble(directory / "pebble", CA_HOST, daemon.port, daemon.https, HOST, dict(DIFFICULT))
    with running(daemon):
        try:
            pebble.start()
            write_settings(daemon, pebble.authority, main, challenge)
            start_verified(daemon, pebble.fetch_root())
            assert len(renew_all_the_time(daemon, pebble.fetch_root())) == RENEWALS
            assert pebble.log.count("Added order") == RENEWALS + 1
        finally:
            pebble.stop()


@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_renewals_at_caddy_without_a_failed_handshake(
    needs: Callable[..., None], directory: Path, main: Registry, challenge: str
) -> None:
    needs("caddy", "unshare", root=True)
    daemon = Daemon(directory, "", HOST, port=80, https=443)
    caddy = Caddy(directory / "caddy", CA_HOST, HOST, free_port(CA_HOST))
    with running(daemon):
        try:
            caddy.start()
            write_settings(daemon, caddy.authority, main, challenge)
            start_verified(daemon, caddy.root.read_bytes())
            assert len(renew_all_the_time(daemon, caddy.root.read_bytes())) == RENEWALS
        finally:
            caddy.stop()


def test_no_certificate_is_lost_and_no_key_is_readable_if_the_daemon_is_killed_during_orders(
    needs: Callable[..., None], directory: Path
) -> None:
    needs("pebble", "pebble-challtestsrv")
    with Kills.begin(directory, seed=1) as kills:
        for _ in range(10):
            kills.kill_during_an_order()
        kills.check()
