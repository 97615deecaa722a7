"""The commands of the manual's page of certificates, run as written but for paths, the CA's URL and sudo."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from facaded.tls.certificate_files import CertificateFiles
from tests.process.daemon import Daemon, Registry, free_port, running
from tests.process.handshakes import NAME, ask
from tests.system.pebble import Pebble
from tests.system.test_certbot import CERTBOT_PEBBLE_ENVIRON
from tests.system.test_daemon_acme import FIRST_CERTIFICATE, serial
from tests.system.test_unit import HOST as UNIT_HOST
from tests.system.test_unit import SETTINGS as UNIT_SETTINGS
from tests.system.test_unit import UNIT, booted_systemd
from tests.tls.authority import Authority, trusting

PAGE = (Path(__file__).parents[2] / "facaded" / "manual" / "certificates.md").read_text()
HOST, CA_HOST, MAIN_HOST = "127.4.4.1", "127.4.4.2", "127.4.4.3"
TIME_LIMIT = 60.0
"""Seconds for a command."""

SETTINGS = """
hosts = ["docker.example.com"]
repositories = ["org/*"]
[tls.acme]
agree_to_terms = true
[[tls.acme.ca]]
directory = "{ca.directory}"
ca_file = "{ca.ca_file}"
[[backend]]
name = "main"
url = "{main}"
"""


def block(title: str, language: str, index: int = 0) -> str:
    """Return a block of code in the section of the page with this title."""
    (section,) = re.findall(rf"^#+ {title}\n(.*?)(?=^#+ [A-Z]|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return blocks[index]


def adapted(commands: str, **replaced: str | Path) -> str:
    """Return commands without sudo, with the paths of this test in place of others: `_` stands for `/`."""
    for path, own_path in replaced.items():
        commands = commands.replace(path.replace("_", "/"), str(own_path))
    return commands.replace("sudo ", "")


def run(commands: str, **environ: str) -> str:
    """Run commands in a shell that stops at the first failure, and return what they print."""
    completed = subprocess.run(
        ["bash", "-ec", commands], env=os.environ | environ, capture_output=True, text=True, timeout=TIME_LIMIT
    )
    assert completed.returncode == 0, f"{completed.stdout}{completed.stderr}"
    return completed.stdout


@pytest.fixture
def pebble(needs: Callable[..., None], tmp_path: Path) -> Iterator[Pebble]:
    needs("pebble", "pebble-challtestsrv")
    pebble = Pebble(
        tmp_path / "pebble", CA_HOST, free_port(HOST), free_port(HOST), HOST, dict(CERTBOT_PEBBLE_ENVIRON)
    ).start()
    yield pebble
    pebble.stop()


@pytest.fixture
def daemon(tmp_path: Path, pebble: Pebble) -> Iterator[Daemon]:
    """A daemon with a certificate from pebble."""
    main = Registry(MAIN_HOST).start()
    daemon = Daemon(tmp_path, "", HOST, port=pebble.http_port, https=pebble.tls_port)
    daemon.settings = SETTINGS.format(ca=pebble.authority, main=main.url)
    with running(daemon, main):
        daemon.start()
        daemon.wait_until(lambda: daemon.status()["certificates"][0]["issuer"], "the certificate", FIRST_CERTIFICATE)
        yield daemon


def test_certbot_revokes_with_the_key_that_facaded_keeps(
    needs: Callable[..., None], tmp_path: Path, pebble: Pebble, daemon: Daemon
) -> None:
    needs("certbot", root=True)
    before = serial(daemon)
    commands = block("A key is compromised", "sh")
    directories = " ".join(f"--{name}-dir={tmp_path}/certbot/{name}" for name in ("config", "work", "logs"))
    certbot = f"certbot revoke --non-interactive {directories} --server {pebble.authority.directory}"
    commands = adapted(commands, _var_lib_facaded=tmp_path / "state", _root=tmp_path)
    commands = commands.replace("certbot revoke", certbot)
    for command in ("renew", "status"):
        own = f"{' '.join(daemon.arguments[:-1])} {command} --config {daemon.config}"
        commands = commands.replace(f"/opt/facaded/bin/facaded {command}", own)
    printed = run(commands, REQUESTS_CA_BUNDLE=str(pebble.directory / "api.pem"))
    assert "You have successfully revoked the certificate" in printed
    daemon.wait_until(lambda: serial(daemon) != before, "the new certificate", FIRST_CERTIFICATE)
    states = [
        json.loads(pebble.fetch(f"/cert-status-by-serial/{number:x}", pebble.management_port))["Status"]
        for number in (before, serial(daemon))
    ]
    assert states == ["Revoked", "Valid"]
    assert not (tmp_path / "compromised.pem").exists()


def test_the_url_of_the_account_is_shown(tmp_path: Path, pebble: Pebble, daemon: Daemon) -> None:
    commands = [one for one in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "account.json" in one]
    printed = run(adapted(commands[0], _var_lib_facaded=tmp_path / "state"))
    assert f'"url": "https://{CA_HOST}:{pebble.api_port}/my-account/' in printed


def test_copied_files_are_served(tmp_path: Path) -> None:
    authority, main = Authority(), Registry(MAIN_HOST).start()
    files = authority.write(tmp_path / "new", NAME)
    tls = tmp_path / "tls"
    settings = 'hosts = ["docker.lab.test"]\n' + block("cert-manager", "toml").partition("\n\n")[2]
    settings = settings.replace("/etc/facaded/tls/tls.crt", f"{tls}/fullchain.pem")
    settings = settings.replace("/etc/facaded/tls/tls.key", f"{tls}/privkey.pem")
    daemon = Daemon(tmp_path, f'{settings}[[backend]]\nname = "main"\nurl = "{main.url}"', HOST)
    with running(daemon, main):
        daemon.start()
        commands = adapted(block("Files of any program", "sh"), _etc_facaded_tls=tls)
        run(f"cd {files.chain.parent}\n{commands.replace('-g facaded', f'-g {os.getgid()}')}")
        daemon.wait_until(lambda: daemon.status()["certificates"][0]["error"] is None, "in service", 5)
        assert ask(daemon, "/v2/", trusting(authority))[0] == 307
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tls.iterdir()} == {
        "fullchain.pem": "0o640",
        "privkey.pem": "0o640",
    }


def test_systemd_gives_a_moved_state_to_the_user_of_the_unit(needs: Callable[..., None], tmp_path: Path) -> None:
    main = Registry("127.0.0.2").start()
    settings = UNIT_SETTINGS.format(host=UNIT_HOST, url=main.url)
    old, new = (adapted(block("Move to another machine", "sh", index), _root=tmp_path) for index in (0, 1))
    certificate = "/var/lib/facaded/acme/certificates/docker.example.com/certificate.pem"
    with running(main), booted_systemd(needs, tmp_path, settings) as init:

        def shell(commands: str) -> str:
            completed = init("sh", "-ec", commands)
            assert completed.returncode == 0, completed.stderr
            return completed.stdout

        shell(f"mkdir -p $(dirname {certificate}) && echo key >{certificate} && chmod -R go= /var/lib/facaded/acme")
        shell(f"{old} test $(stat -c %a {tmp_path}/facaded-acme.tar) = 600")
        shell("rm -r /var/lib/facaded /var/lib/private")  # another machine
        shell(new)
        assert init.show("ActiveState") == "active"
        assert shell(f"cat {certificate}; stat -L -c '%U %a' {certificate}") == "key\nfacaded 600\n"
    assert not (tmp_path / "facaded-acme.tar").exists()


def test_systemd_finds_no_fault_in_the_wait_for_the_time(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("systemd-analyze")
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("/opt/facaded/bin/facaded", "/bin/true"))
    (tmp_path / f"{UNIT.name}.d").mkdir()
    (tmp_path / f"{UNIT.name}.d" / "override.conf").write_text(block("Before the first certificate", "ini"))
    assert run(f"systemd-analyze verify {tmp_path / UNIT.name} 2>&1") == ""
    for unit in ("systemd-time-wait-sync.service", "time-sync.target"):
        assert unit in PAGE
        assert run(f"systemctl list-unit-files --root=/ {unit} --no-legend --no-pager").startswith(unit)


def test_caddy_in_front_passes_on_the_host_and_the_address(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("caddy", "curl")
    main, (http, https) = Registry(MAIN_HOST).start(), (free_port(), free_port())
    settings = block("Behind a proxy", "toml").partition("[listen]")[0]
    daemon = Daemon(tmp_path, f'{settings}\n[[backend]]\nname = "main"\nurl = "{main.url}"')
    caddyfile = block("Behind a proxy", "text").replace("127.0.0.1:8080", f"127.0.0.1:{daemon.port}")
    own = f"{{\nadmin off\nlocal_certs\nskip_install_trust\nhttp_port {http}\nhttps_port {https}\n}}\n"
    (tmp_path / "Caddyfile").write_text(own + caddyfile)
    environ = os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = ["caddy", "run", "--config", str(tmp_path / "Caddyfile")]
    with running(daemon, main), (tmp_path / "caddy.log").open("wb") as log:
        daemon.start()
        caddy = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            target = f"--connect-to docker.example.com:443:127.0.0.1:{https} https://docker.example.com/v2/"
            retries = "--retry 20 --retry-all-errors --retry-delay 1"
            answer = run(f"curl -ksi --interface 127.0.0.7 -A containerd/2.1.9 {retries} {target}")
            assert f"location: {main.url}/v2/" in answer.lower()
            daemon.wait_until(lambda: "127.0.0.7 - - " in daemon.log, "the log names the client")
        finally:
            caddy.terminate()
            caddy.wait()


def test_kubectl_reads_the_deployment(needs: Callable[..., None], tmp_path: Path) -> None:
    needs("kubectl")
    (tmp_path / "deployment.yaml").write_text(block("cert-manager", "yaml", 1))
    printed = run(f"kubectl label --local -f {tmp_path}/deployment.yaml checked=yes -o json")
    assert '"defaultMode": 288' in printed
    assert '"fsGroup": 10001' in printed


def test_a_secret_that_is_mounted_like_that_is_served(tmp_path: Path) -> None:
    """As kubelet mounts it: files of mode 0440 behind two links, which change at once."""
    authority, main = Authority(), Registry(MAIN_HOST).start()
    volume = tmp_path / "tls"
    volume.mkdir()
    for name in ("tls.crt", "tls.key"):
        (volume / name).symlink_to(Path("..data") / name)

    def update(version: str) -> int:
        chain, key = authority.issue(NAME)
        (volume / version).mkdir()
        for name, content in (("tls.crt", chain), ("tls.key", key)):
            (volume / version / name).write_bytes(content)
            (volume / version / name).chmod(0o440)
        (volume / "..data_tmp").symlink_to(version)
        (volume / "..data_tmp").rename(volume / "..data")
        return x509.load_pem_x509_certificate(chain).serial_number

    first = update("..2026_1")
    settings = (
        block("cert-manager", "toml").replace("/etc/facaded/tls", str(volume)).replace("docker.example.com", NAME)
    )
    daemon = Daemon(tmp_path, f'{settings}[[backend]]\nname = "main"\nurl = "{main.url}"', HOST)
    with running(daemon, main):
        daemon.start()
        assert serial(daemon) == first
        second = update("..2026_2")
        daemon.wait_until(lambda: serial(daemon) == second, "the new certificate", 5)
    assert CertificateFiles(volume / "tls.crt", volume / "tls.key").key.stat().st_mode & 0o777 == 0o440
