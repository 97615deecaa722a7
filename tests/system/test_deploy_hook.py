"""certbot's deploy hook, and a daemon that is not root beside it."""

import grp
import os
import pwd
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from facaded.tls.certificate_files import CertificateFiles
from tests.process.daemon import Daemon, Registry, running
from tests.process.handshakes import NAME, ask, served_certificate
from tests.tls.authority import Authority, put, trusting

INSTALLED = "/opt/facaded/bin/python"
"""Where README installs it."""

HOOK = Path(__file__).parents[2] / "conf" / "certbot-deploy-hook"
USER, GROUP = "nobody", "nogroup"

SETTINGS = """
hosts = ["{name}"]
[[tls.certificate]]
chain = "{directory}/tls/{name}/fullchain.pem"
key = "{directory}/tls/{name}/privkey.pem"
[[backend]]
name = "main"
url = "{main.url}"
"""


@define
class Certbot:
    """What certbot has in /etc/letsencrypt, for root alone, and what it does after a renewal."""

    directory: Path
    authority: Authority
    renewals: int = 0

    def renew(self, group: str) -> subprocess.CompletedProcess[str]:
        self.renewals += 1
        archive, live = self.directory / "archive" / NAME, self.directory / "live" / NAME
        for made in (archive, live):
            made.mkdir(parents=True, exist_ok=True)
        files = CertificateFiles(archive / f"fullchain{self.renewals}.pem", archive / f"privkey{self.renewals}.pem")
        put(files, *self.authority.issue(NAME))
        files.key.chmod(0o600)
        for name, target in (("fullchain.pem", files.chain), ("privkey.pem", files.key)):
            (live / name).unlink(missing_ok=True)
            (live / name).symlink_to(target)
        self.directory.chmod(0o700)
        environ = {"PATH": os.environ["PATH"], "RENEWED_LINEAGE": str(live), "RENEWED_DOMAINS": NAME}
        environ |= {"FACADED_TLS": str(self.directory.parent / "tls"), "FACADED_GROUP": group}
        return subprocess.run(["sh", HOOK], env=environ, capture_output=True, text=True, check=False)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that everybody may enter."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def certbot(directory: Path) -> Certbot:
    return Certbot(directory / "letsencrypt", Authority())


def test_the_hook_installs_both_files_for_the_group_and_nobody_else(directory: Path, certbot: Certbot) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    for _ in range(2):
        done = certbot.renew(group)
        assert (done.returncode, done.stdout) == (0, f"installed in {directory}/tls/{NAME}: {NAME}\n"), done.stderr
    installed = directory / "tls" / NAME
    assert stat.S_IMODE(installed.stat().st_mode) == 0o750
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in installed.iterdir()} == {
        "fullchain.pem": "0o640",
        "privkey.pem": "0o640",
    }
    live = certbot.directory / "live" / NAME
    for name in ("fullchain.pem", "privkey.pem"):
        assert (installed / name).read_bytes() == (live / name).read_bytes()
        assert not (installed / name).is_symlink()


def test_the_hook_leaves_what_is_there_if_it_cannot_go_on(directory: Path, certbot: Certbot) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    certbot.renew(group)
    installed = directory / "tls" / NAME
    before = {path.name: path.read_bytes() for path in installed.iterdir()}
    assert certbot.renew("no-such-group").returncode != 0
    assert {path.name: path.read_bytes() for path in installed.iterdir()} == before
    without = subprocess.run(
        ["sh", HOOK], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert without.returncode != 0
    assert "RENEWED_LINEAGE: is not set: certbot sets it; name this as its --deploy-hook" in without.stderr


def run_by_another(needs: Callable[..., None]) -> list[str]:
    """facaded as a user who is not root runs it: what is tested where that may be read, else what is installed."""
    needs("setpriv", root=True)
    become = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--no-new-privs"]
    for python in (sys.executable, INSTALLED):
        program = [*become, python, "-m", "facaded"]
        if subprocess.run([*program, "version"], capture_output=True, check=False).returncode == 0:
            return program
    needs(lacking=f"{USER} may not read the program that is tested, and there is no {INSTALLED}")
    raise AssertionError("it was skipped")


def test_a_daemon_that_is_not_root_has_the_renewed_certificate_in_service(
    needs: Callable[..., None], directory: Path, certbot: Certbot
) -> None:
    program = run_by_another(needs)
    main = Registry("127.0.0.2").start()
    (directory / "run").mkdir()
    os.chown(directory / "run", pwd.getpwnam(USER).pw_uid, grp.getgrnam(GROUP).gr_gid)
    settings = SETTINGS.format(name=NAME, directory=directory, main=main)
    daemon = Daemon(directory / "run", settings, arguments=[*program, "--config"], environ={"HOME": str(directory)})
    with running(daemon, main):
        daemon.start()
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(daemon, "/v2/", trusting(certbot.authority))
        for _ in range(2):
            before = served_certificate(daemon)
            assert certbot.renew(GROUP).returncode == 0
            daemon.wait_until(
                lambda before=before: served_certificate(daemon) != before,  # type: ignore[misc]
                "the new certificate is in service",
                3,
            )
            ask(daemon, "/v2/", trusting(certbot.authority))
        (directory / "tls" / NAME / "privkey.pem").chmod(0o600)
        os.utime(directory / "tls" / NAME / "privkey.pem")
        daemon.wait_until(lambda: "privkey.pem cannot be read (Permission denied)" in daemon.log, "it is said")
        ask(daemon, "/v2/", trusting(certbot.authority))
        assert "BEGIN" not in daemon.log
