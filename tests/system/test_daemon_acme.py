"""A daemon obtains and renews certificates from a real CA, beginning with its first start."""

import re
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from cryptography import x509

from tests.process.daemon import TWISTD, Daemon, Registry, free_port, running
from tests.process.handshakes import NAME, ask, connect, served_certificate
from tests.system.pebble import ACCOUNT_SECRETS, Pebble
from tests.system.test_acme import PEBBLE_ENVIRON
from tests.tls.authority import trusting

HOST, CA_HOST, MAIN_HOST = "127.4.0.1", "127.4.0.2", "127.4.0.3"

FIRST_CERTIFICATE = 10.0
"""Limit in seconds for a new daemon to serve a verified certificate."""

STOPPED_WITHIN = 2.0
"""Limit in seconds for the daemon to stop while the CA hangs."""

SETTINGS = """
hosts = ["{name}"]
repositories = ["org/*"]
[tls.acme]
agree_to_terms = true
challenges = ["{challenge}"]
[[tls.acme.ca]]
directory = "{ca.directory}"
ca_file = "{ca.ca_file}"
eab_key_id = "{key_id}"
eab_hmac_key_file = "{secret}"
[[backend]]
name = "main"
url = "{main}"
"""

TLS_1_2 = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = limits
[limits]
MaxProtocol = TLSv1.2
"""
"""OpenSSL settings that limit the daemon to TLS 1.2 for all clients, the CA's validator included."""

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def verifying_context(root: bytes, version: str = "") -> ssl.SSLContext:
    """Return a client's context that trusts only this root (PEM) and, if `version` is set, speaks only it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root.decode())
    if version:
        context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def serial(daemon: Daemon) -> int:
    """Return the serial number of the certificate that the daemon serves."""
    return x509.load_der_x509_certificate(served_certificate(daemon)).serial_number


def secrets_on_disk(daemon: Daemon) -> set[str]:
    """Return what must not appear in a log: the lines of private keys, and the key for external account binding.

    The tokens of http-01 are no secrets: they are in the paths that the CA requests, which the access log contains.
    """
    texts = [path.read_text() for path in (daemon.directory / "state" / "acme").rglob("*.pem")]
    lines = {line for text in texts for line in text.partition("-----END PRIVATE")[0].splitlines()[1:]}
    return lines | set(ACCOUNT_SECRETS.values())


def files_with_wrong_modes(directory: Path) -> list[str]:
    """Return the files whose mode is not 0600 and the directories whose mode is not 0700, with their modes."""
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.rglob("*")]}
    return [f"{path}: {mode:o}" for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)]


@define
class Lab:
    """A CA that demands external account binding, a registry, and a daemon without any state."""

    pebble: Pebble
    main: Registry
    daemon: Daemon

    def write_settings(self, challenge: str = "tls-alpn-01") -> None:
        """Write the daemon's settings; the CA must have started, because they contain its port."""
        (key_id, mac_key), *_ = ACCOUNT_SECRETS.items()
        secret = self.daemon.directory / "eab"
        secret.touch(0o600)
        secret.write_text(mac_key)
        self.daemon.write_settings(
            SETTINGS.format(
                name=NAME,
                challenge=challenge,
                ca=self.pebble.authority,
                main=self.main.url,
                key_id=key_id,
                secret=secret,
            )
        )

    def is_verified(self, version: str = "") -> bool:
        """Return whether a client that trusts only the CA's root gets a response."""
        try:
            return ask(self.daemon, "/v2/", verifying_context(self.pebble.fetch_root(), version))[0] == 307
        except OSError:
            return False

    def start_with_certificate(self) -> None:
        """Start the CA and the daemon, and wait until the daemon serves a verified certificate."""
        self.pebble.start()
        self.write_settings()
        self.daemon.start()
        self.daemon.wait_until(self.is_verified, "verified", FIRST_CERTIFICATE)

    def renew(self) -> float:
        """Renew the certificate; return the seconds until the daemon serves the new one."""
        before, started = serial(self.daemon), time.monotonic()
        assert self.daemon.run("renew").returncode == 0
        self.daemon.wait_until(lambda: serial(self.daemon) != before, "the new certificate", FIRST_CERTIFICATE)
        return time.monotonic() - started

    def count_orders(self) -> int:
        return self.pebble.log.count("Added order")


@pytest.fixture
def lab(needs: Callable[..., None], tmp_path: Path) -> Iterator[Lab]:
    """A lab whose registry is started; at the end, its log must have no secrets, its files no wrong modes."""
    needs("pebble", "pebble-challtestsrv")
    daemon = Daemon(tmp_path, "", HOST, port=free_port(HOST), https=free_port(HOST))
    pebble = Pebble(
        tmp_path / "pebble", CA_HOST, daemon.port, daemon.https, HOST, dict(PEBBLE_ENVIRON), account_required=True
    )
    lab = Lab(pebble, Registry(MAIN_HOST).start(), daemon)
    with running(lab.daemon, lab.main):
        try:
            yield lab
            assert [secret for secret in secrets_on_disk(daemon) if secret in daemon.log] == []
            assert "Traceback" not in daemon.log
            assert "Unhandled" not in daemon.log
            assert files_with_wrong_modes(daemon.directory / "state" / "acme") == []
        finally:
            pebble.stop()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("challenge", ["tls-alpn-01", "http-01"])
def test_a_new_daemon_serves_a_verified_certificate_within_10_s(
    lab: Lab, tmp_path: Path, challenge: str, version: str
) -> None:
    lab.pebble.start()
    lab.write_settings(challenge)
    if version == "1.2":
        (tmp_path / "openssl.cnf").write_text(TLS_1_2)
        lab.daemon.environ["OPENSSL_CONF"] = str(tmp_path / "openssl.cnf")
    started = time.monotonic()
    lab.daemon.spawn()
    lab.daemon.wait_until(lambda: lab.is_verified(version), "verified", FIRST_CERTIFICATE)
    duration = time.monotonic() - started
    print(f"{challenge}, TLS {version}: {duration:.2f} s")
    assert duration <= FIRST_CERTIFICATE
    assert lab.is_verified("1.2")
    assert lab.is_verified("1.3") == (version == "1.3"), "the CA's validator used the wrong TLS version"
    assert lab.count_orders() == 1
    (certificate,) = lab.daemon.status()["certificates"]
    assert certificate["names"] == [NAME]
    assert certificate["issuer"].startswith("Pebble")
    assert certificate["error"] is None
    assert time.time() < certificate["next_renewal"] < certificate["until"]
    status_text = lab.daemon.run("status").stdout.replace("\n  ", " ")
    pattern = rf"{NAME}: certificate expires .*, renewal .* \(by Pebble .*, from ACME\)"
    assert re.search(pattern, status_text), status_text
    assert lab.daemon.stop() == 0


def test_the_daemon_is_ready_with_a_self_signed_certificate_while_the_ca_hangs(lab: Lab) -> None:
    lab.pebble.start().stop_pebble()
    lab.write_settings()
    with socket.create_server((CA_HOST, lab.pebble.api_port)):  # accepts connections, and sends nothing
        assert lab.daemon.spawn().wait_until(lambda: lab.daemon.ready, "ready") < FIRST_CERTIFICATE
        assert ask(lab.daemon, "/v2/", trusting())[0] == 307
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            ask(lab.daemon, "/v2/", ssl.create_default_context())
        ordered, self_signed = lab.daemon.status()["certificates"]
        assert (ordered["names"], ordered["from"], ordered["until"]) == ([NAME], "ACME", None)
        assert self_signed["from"] == "self-signed"
        assert lab.daemon.run("status").returncode in (0, 1)
        started = time.monotonic()
        assert lab.daemon.stop() == 0
        assert time.monotonic() - started < STOPPED_WITHIN, "a pending order delayed the stop"


def test_a_renewal_keeps_connections_and_a_killed_daemon_serves_the_new_certificate_without_an_order(lab: Lab) -> None:
    lab.start_with_certificate()
    first = serial(lab.daemon)
    with connect(lab.daemon, verifying_context(lab.pebble.fetch_root())) as connection:
        duration = lab.renew()
        connection.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 ")
        assert x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"").serial_number == first
    print(f"renewed in {duration:.2f} s")
    assert lab.is_verified()
    renewed, order_count = serial(lab.daemon), lab.count_orders()
    assert order_count == 2
    assert [certificate["error"] for certificate in lab.daemon.status()["certificates"]] == [None]
    lab.daemon.kill()
    lab.daemon.start()
    assert serial(lab.daemon) == renewed, "at once"
    assert lab.is_verified()
    time.sleep(0.5)  # long enough for an order to begin
    assert lab.count_orders() == order_count


def test_the_status_shows_that_the_ca_is_down_and_renew_retries_at_once(lab: Lab) -> None:
    lab.pebble.start()
    root = lab.pebble.fetch_root()
    lab.pebble.stop_pebble()
    lab.write_settings()
    lab.daemon.start()

    def acme_error() -> str:
        return str(lab.daemon.status()["certificates"][0]["error"] or "")

    lab.daemon.wait_until(acme_error, "an error in the status")
    assert "connection refused" in acme_error()
    assert f"{NAME}: no certificate from ACME: " in lab.daemon.run("status").stdout
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(lab.daemon, "/v2/", verifying_context(root))
    assert ask(lab.daemon, "/v2/", trusting())[0] == 307
    lab.pebble.start_pebble()
    renewal = lab.daemon.run("renew")
    assert (renewal.returncode, renewal.stderr) == (0, "")
    lab.daemon.wait_until(lab.is_verified, "verified", FIRST_CERTIFICATE)
    assert [certificate["error"] for certificate in lab.daemon.status()["certificates"]] == [None]


def test_a_daemon_under_twistd_obtains_a_certificate(lab: Lab) -> None:
    lab.daemon.arguments = TWISTD
    lab.start_with_certificate()
    assert lab.count_orders() == 1
    assert lab.daemon.stop() in (0, -signal.SIGTERM), "twistd exits by the signal that it received"


def test_an_operator_renews_one_name_by_force(lab: Lab) -> None:
    lab.start_with_certificate()
    before = serial(lab.daemon)
    refused = lab.daemon.run("renew", "unknown.test")
    assert refused.returncode == 2
    assert f"unknown.test: no certificate with this name is managed: expected one of {NAME}" in refused.stderr
    renewal = lab.daemon.run("renew", NAME, "--force")
    assert (renewal.returncode, renewal.stderr) == (0, "")
    assert renewal.stdout.startswith(f"renewal started: {NAME}; see")
    lab.daemon.wait_until(lambda: serial(lab.daemon) != before, "the new certificate", FIRST_CERTIFICATE)
    status = lab.daemon.run("status")
    assert re.search(r"certificate expires .* \(in \d+ d\), renewal ", status.stdout.replace("\n  ", " "))
    assert status.returncode == 0
