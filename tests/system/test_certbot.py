"""certbot with a daemon that does not run as root: the daemon serves the webroot, the deploy hook installs files."""

import grp
import os
import pwd
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from cryptography import x509

from tests.process.daemon import Daemon, Registry, free_port, running
from tests.process.handshakes import NAME, ask, served_certificate
from tests.system.pebble import Pebble
from tests.system.test_acme import PEBBLE_ENVIRON
from tests.system.test_deploy_hook import GROUP, HOOK, USER, facaded_as_other_user
from tests.tls.authority import trusting

HOST, CA_HOST, MAIN_HOST = "127.4.1.1", "127.4.1.2", "127.4.1.3"

CERTBOT_PEBBLE_ENVIRON = {**PEBBLE_ENVIRON, "PEBBLE_WFE_NONCEREJECT": "0"}
"""No rejected nonces, because certbot retries only once."""

SERVED_WITHIN = 2.0
"""Limit in seconds from certbot's exit until the daemon serves the files that the hook installed."""

COMMAND_TIME = 60.0
"""Timeout of certbot in seconds."""

SETTINGS = """
hosts = ["{name}"]
[tls]
acme_webroot = "{directory}/webroot"
[[tls.certificate]]
chain = "{directory}/tls/{name}/fullchain.pem"
key = "{directory}/tls/{name}/privkey.pem"
[[backend]]
name = "main"
url = "{main}"
"""


@define
class CertbotClient:
    """certbot, with its files and the webroot in `directory`, and pebble as its CA."""

    directory: Path
    pebble: Pebble

    def run(self, command: str, *arguments: str) -> None:
        own_directory = self.directory / "certbot"
        directory_options = [f"--{name}-dir={own_directory / name}" for name in ("config", "work", "logs")]
        hook = {"FACADED_TLS": str(self.directory / "tls"), "FACADED_GROUP": GROUP}
        environ = os.environ | hook | {"REQUESTS_CA_BUNDLE": str(self.pebble.directory / "api.pem")}
        completed = subprocess.run(
            [
                "certbot",
                command,
                *directory_options,
                "--non-interactive",
                "--server",
                self.pebble.authority.directory,
                *arguments,
            ],
            env=environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIME,
            check=False,
        )
        assert completed.returncode == 0, f"{completed.stdout}{completed.stderr}\n{self.pebble.log}"

    def order(self) -> None:
        webroot = f"--webroot-path={self.directory}/webroot"
        registration_options = ["--agree-tos", "--register-unsafely-without-email"]
        self.run("certonly", "--webroot", webroot, "-d", NAME, *registration_options, "--deploy-hook", f"sh {HOOK}")

    def test_renewal(self) -> None:
        """Run the test that the manual names."""
        self.run("renew", "--dry-run", "--no-random-sleep-on-renew")

    def renew(self) -> None:
        self.run("renew", "--force-renewal", "--no-random-sleep-on-renew")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        yield Path(temporary)


def serial(daemon: Daemon) -> int:
    return x509.load_der_x509_certificate(served_certificate(daemon)).serial_number


def is_replaced(daemon: Daemon, before: int) -> bool:
    """Return whether a few connections, which reach all processes, get one certificate, and another one than before.

    Until there is one, each process has made its own.
    """
    serials = {serial(daemon) for _ in range(10)}
    return len(serials) == 1 and before not in serials


def test_a_daemon_without_root_serves_what_certbot_obtains_and_renews_within_2_s(
    needs: Callable[..., None], directory: Path
) -> None:
    needs("certbot", "pebble", "pebble-challtestsrv", root=True)
    program = facaded_as_other_user(needs)
    (directory / "webroot").mkdir(mode=0o755)
    (directory / "run").mkdir()
    os.chown(directory / "run", pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid)
    main = Registry(MAIN_HOST).start()
    settings = SETTINGS.format(name=NAME, directory=directory, main=main.url)
    environ = {"HOME": str(directory)}
    daemon = Daemon(directory / "run", settings, HOST, environ, [*program, "--config"], port=free_port(HOST))
    daemon.https = free_port(HOST)
    pebble = Pebble(directory / "pebble", CA_HOST, daemon.port, daemon.https, HOST, CERTBOT_PEBBLE_ENVIRON)
    certbot = CertbotClient(directory, pebble)
    with running(daemon, main):
        try:
            pebble.start()
            daemon.start()
            root = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            root.load_verify_locations(cadata=pebble.fetch_root().decode())
            with pytest.raises(ssl.SSLCertVerificationError):
                ask(daemon, "/v2/", root)
            assert ask(daemon, "/v2/", trusting())[0] == 307
            for action in (certbot.order, certbot.renew):
                before = serial(daemon)
                action()
                certbot_ended = time.monotonic()
                daemon.wait_until(
                    lambda before=before: is_replaced(daemon, before),  # type: ignore[misc]
                    "the new certificate",
                    SERVED_WITHIN,
                )
                print(f"{action.__name__}: served {time.monotonic() - certbot_ended:.2f} s after certbot's exit")
                ask(daemon, "/v2/", root)
            before = serial(daemon)
            certbot.test_renewal()
            assert serial(daemon) == before
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "tls" / NAME).iterdir()}
            assert modes == {"fullchain.pem": 0o640, "privkey.pem": 0o640}
            assert "BEGIN" not in daemon.log
        finally:
            pebble.stop()
