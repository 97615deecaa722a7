"""certbot beside a daemon that is not root: in webroot mode through it, and its hook installs what it gets."""

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
from tests.system.test_acme import STRICT
from tests.system.test_deploy_hook import GROUP, HOOK, USER, run_by_another
from tests.tls.authority import trusting

HOST, CA_HOST, MAIN_HOST = "127.4.1.1", "127.4.1.2", "127.4.1.3"

PATIENT = {**STRICT, "PEBBLE_WFE_NONCEREJECT": "0"}
"""certbot tries a refused nonce once more, and no more."""

IN_SERVICE = 2.0
"""Seconds from the end of certbot, whose hook has installed the files, until they are in service."""

COMMAND_TIME = 60.0
"""Seconds after which certbot is ended."""

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
class Certbot:
    """certbot, with all of its own and the webroot in `directory`, and pebble as its CA."""

    directory: Path
    ca: Pebble

    def run(self, command: str, *arguments: str) -> None:
        own = self.directory / "certbot"
        places = [f"--{name}-dir={own / name}" for name in ("config", "work", "logs")]
        hook = {"FACADED_TLS": str(self.directory / "tls"), "FACADED_GROUP": GROUP}
        environ = os.environ | hook | {"REQUESTS_CA_BUNDLE": str(self.ca.directory / "api.pem")}
        done = subprocess.run(
            ["certbot", command, *places, "--non-interactive", "--server", self.ca.ca.directory, *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIME,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.ca.log}"

    def order(self) -> None:
        webroot = f"--webroot-path={self.directory}/webroot"
        agreed = ["--agree-tos", "--register-unsafely-without-email"]
        self.run("certonly", "--webroot", webroot, "-d", NAME, *agreed, "--deploy-hook", f"sh {HOOK}")

    def renew(self) -> None:
        self.run("renew", "--force-renewal", "--no-random-sleep-on-renew")


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that everybody may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def serial(daemon: Daemon) -> int:
    return x509.load_der_x509_certificate(served_certificate(daemon)).serial_number


def test_what_certbot_gets_and_renews_through_a_daemon_that_is_not_root_is_in_service_within_2_s(
    needs: Callable[..., None], directory: Path
) -> None:
    needs("certbot", "pebble", "pebble-challtestsrv", root=True)
    program = run_by_another(needs)
    (directory / "webroot").mkdir(mode=0o755)
    (directory / "run").mkdir()
    os.chown(directory / "run", pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid)
    main = Registry(MAIN_HOST).start()
    settings = SETTINGS.format(name=NAME, directory=directory, main=main.url)
    environ = {"HOME": str(directory)}
    daemon = Daemon(directory / "run", settings, HOST, environ, [*program, "--config"], port=free_port(HOST))
    daemon.https = free_port(HOST)
    ca = Pebble(directory / "pebble", CA_HOST, daemon.port, daemon.https, HOST, PATIENT)
    certbot = Certbot(directory, ca)
    with running(daemon, main):
        try:
            ca.start()
            daemon.start()
            root = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            root.load_verify_locations(cadata=ca.root().decode())
            with pytest.raises(ssl.SSLCertVerificationError):
                ask(daemon, "/v2/", root)
            assert ask(daemon, "/v2/", trusting())[0] == 307
            for step in (certbot.order, certbot.renew):
                before = serial(daemon)
                step()
                done = time.monotonic()
                daemon.wait_until(lambda before=before: serial(daemon) != before, "in service", IN_SERVICE)  # type: ignore[misc]
                print(f"{step.__name__}: in service {time.monotonic() - done:.2f} s after certbot's end")
                ask(daemon, "/v2/", root)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "tls" / NAME).iterdir()}
            assert modes == {"fullchain.pem": 0o640, "privkey.pem": 0o640}
            assert "BEGIN" not in daemon.log
        finally:
            ca.stop()
