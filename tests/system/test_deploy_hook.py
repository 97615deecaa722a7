"""The deploy hook for certbot, with a daemon that does not run as root."""

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
"""The Python of the installation that README describes."""

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
class FakeCertbot:
    """A stand-in for certbot: it writes a lineage as in /etc/letsencrypt, readable only by root, and runs the hook."""

    directory: Path
    authority: Authority
    renewals: int = 0

    def renew(self, group: str) -> subprocess.CompletedProcess[str]:
        self.renewals += 1
        archive, live = self.directory / "archive" / NAME, self.directory / "live" / NAME
        for parent in (archive, live):
            parent.mkdir(parents=True, exist_ok=True)
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
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)
        yield Path(temporary)


@pytest.fixture
def certbot(directory: Path) -> FakeCertbot:
    return FakeCertbot(directory / "letsencrypt", Authority())


def test_the_hook_installs_both_files_so_that_only_the_group_can_read_them(
    directory: Path, certbot: FakeCertbot
) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    for _ in range(2):
        completed = certbot.renew(group)
        assert (completed.returncode, completed.stdout) == (0, f"installed in {directory}/tls/{NAME}: {NAME}\n"), (
            completed.stderr
        )
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


def test_a_failed_hook_leaves_the_installed_files_unchanged(directory: Path, certbot: FakeCertbot) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    certbot.renew(group)
    installed = directory / "tls" / NAME
    before = {path.name: path.read_bytes() for path in installed.iterdir()}
    assert certbot.renew("no-such-group").returncode != 0
    assert {path.name: path.read_bytes() for path in installed.iterdir()} == before
    completed = subprocess.run(
        ["sh", HOOK], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert completed.returncode != 0
    assert "RENEWED_LINEAGE: is not set: certbot sets it; name this as its --deploy-hook" in completed.stderr


def facaded_as_other_user(needs: Callable[..., None]) -> list[str]:
    """Return the command that runs facaded as `nobody`, with this Python if `nobody` can read it, else INSTALLED."""
    needs("setpriv", root=True)
    user_prefix = ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups", "--no-new-privs"]
    for python in (sys.executable, INSTALLED):
        start = [*user_prefix, python, "-c", f"import subprocess as s; s.run(['{python}', '-m', 'facaded', 'version'])"]
        if "facaded" in subprocess.run(start, capture_output=True, text=True, check=False).stdout:  # workers do that
            return [*user_prefix, python, "-m", "facaded"]
    needs(unmet=f"{USER} cannot read {sys.executable}, and {INSTALLED} does not exist: install facaded there")
    raise AssertionError("needs() neither skipped nor failed the test")


def served_certificates(daemon: Daemon) -> set[bytes]:
    """Return what a few connections get, which reach all processes."""
    return {served_certificate(daemon) for _ in range(10)}


def test_a_daemon_without_root_serves_the_renewed_certificate(
    needs: Callable[..., None], directory: Path, certbot: FakeCertbot
) -> None:
    program = facaded_as_other_user(needs)
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
                lambda before=before: before not in served_certificates(daemon),  # type: ignore[misc]
                "the new certificate",
                3,
            )
            ask(daemon, "/v2/", trusting(certbot.authority))
        (directory / "tls" / NAME / "privkey.pem").chmod(0o600)
        os.utime(directory / "tls" / NAME / "privkey.pem")
        daemon.wait_until(lambda: "privkey.pem cannot be read (Permission denied)" in daemon.log, "the log message")
        ask(daemon, "/v2/", trusting(certbot.authority))
        assert "BEGIN" not in daemon.log
